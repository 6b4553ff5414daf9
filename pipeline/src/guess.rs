//! What the columns of a user's own tables probably are, by their names and types.

use arrow::datatypes::{DataType, Field, Schema};
use contract::ids::IdKind;
use contract::source_features::list_item;

/// Names of a column of user ids, as [`plain`], the likeliest first.
const USERS: &[&str] = &[
    "userid",
    "user",
    "customerid",
    "customer",
    "clientid",
    "client",
    "memberid",
    "member",
    "householdkey",
    "householdid",
    "household",
    "visitorid",
    "accountid",
    "account",
    "personid",
    "uid",
    "id",
];

/// Names of a column of brand ids.
const BRANDS: &[&str] = &[
    "brandid",
    "brand",
    "merchantid",
    "merchant",
    "itemid",
    "item",
    "productid",
    "product",
    "articleid",
    "article",
    "sku",
    "movieid",
    "artistid",
    "categoryid",
    "category",
    "labelid",
    "label",
    "id",
];

/// Names of a column of brand names.
const NAMES: &[&str] =
    &["name", "brandname", "itemname", "productname", "title", "label", "description"];

/// Names of a column that counts events.
const EVENTS: &[&str] = &["events", "nevents", "count", "quantity", "times"];

/// A column that a table needs, with the other names that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    UserId,
    BrandId,
    Name,
    Events,
}

impl Wanted {
    /// Its name in the project.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::BrandId => "brand_id",
            Self::Name => "name",
            Self::Events => "events",
        }
    }

    fn others(self) -> &'static [&'static str] {
        match self {
            Self::UserId => USERS,
            Self::BrandId => BRANDS,
            Self::Name => NAMES,
            Self::Events => EVENTS,
        }
    }

    fn is_fit(self, found: &DataType) -> bool {
        match self {
            Self::UserId | Self::BrandId => IdKind::of(found).is_ok(),
            Self::Name => IdKind::of(found).is_ok_and(|kind| kind == IdKind::Text),
            Self::Events => found.is_numeric(),
        }
    }

    /// The column of a table that is it.
    ///
    /// * `known`: its name in another table, which is tried first.
    pub fn find<'a>(self, columns: &'a Schema, known: Option<&str>) -> Option<&'a Field> {
        let fit = |field: &&std::sync::Arc<Field>| self.is_fit(field.data_type());
        let named = |is_it: &dyn Fn(&str) -> bool| {
            columns.fields().iter().filter(fit).find(|field| is_it(field.name()))
        };
        let exact = named(&|name| name == self.name());
        let as_known = || known.and_then(|known| named(&|name| name == known));
        let alike = || self.others().iter().find_map(|other| named(&|name| plain(name) == *other));
        exact.or_else(as_known).or_else(alike).map(AsRef::as_ref)
    }
}

/// A name without what people write in different ways.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// What a column of users can be to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A number, a vector or a list of ids
    Feature,
    /// Text, dates and all else that no model reads
    Other,
}

impl Role {
    /// By a column's type.
    pub fn of(found: &DataType) -> Self {
        let is_number = |t: &DataType| t.is_numeric() || *t == DataType::Boolean;
        let is_feature = is_number(found)
            || list_item(found).is_some_and(|item| item.is_floating() || item.is_integer());
        if is_feature { Self::Feature } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(
            columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn ids_are_found_by_the_names_that_people_give_them() {
        let columns = schema(&[
            ("Id", DataType::Int64),
            ("CUSTOMER-ID", DataType::Utf8),
            ("user", DataType::Float64),
            ("day", DataType::Date32),
        ]);
        let found = |known| Wanted::UserId.find(&columns, known).map(|field| field.name().clone());
        assert_eq!(found(None).unwrap(), "CUSTOMER-ID", "a float is no id, and `Id` says least");
        assert_eq!(found(Some("Id")).unwrap(), "Id", "as another table has it");
        assert_eq!(Wanted::Name.find(&columns, None), None);
        let exact = schema(&[("user", DataType::Int64), ("user_id", DataType::Int64)]);
        assert_eq!(Wanted::UserId.find(&exact, Some("user")).unwrap().name(), "user_id");
    }

    #[test]
    fn numbers_vectors_and_lists_of_ids_are_features() {
        for (found, expected) in [
            (DataType::Int8, Role::Feature),
            (DataType::Boolean, Role::Feature),
            (DataType::new_list(DataType::Float64, true), Role::Feature),
            (DataType::new_list(DataType::Int64, true), Role::Feature),
            (DataType::Utf8, Role::Other),
            (DataType::Date32, Role::Other),
            (DataType::new_list(DataType::Utf8, true), Role::Other),
        ] {
            assert_eq!(Role::of(&found), expected, "{found}");
        }
    }
}
