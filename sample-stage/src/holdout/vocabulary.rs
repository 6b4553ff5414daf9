//! The values of text columns that become categories: those that are listed, or the most common among the
//! training users.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use contract::exit::DataError;
use contract::manifest::{Categories, FeatureOptions, FeatureSource};
use contract::source_features::{category_texts, type_problem};
use datafusion::arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::ident;
use futures::StreamExt as _;

use super::labels::Labels;
use super::snapshot::Snapshot;
use super::split::Split;
use crate::raw::RawTables;

/// The vocabulary of each feature with `categories`, by its column: most common first, ties in order of
/// the value.
///
/// # Errors
///
/// A column that is not text, or without a value.
pub async fn vocabularies(
    raw: &RawTables,
    features: &[FeatureSource],
    snapshots: &[(Snapshot, Labels)],
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut vocabularies = BTreeMap::new();
    for options in features.iter().map(FeatureSource::options) {
        let Some(categories) = &options.categories else { continue };
        check(&options, &snapshots[0].0.users.frame)?;
        let values = match categories {
            Categories::Listed(values) => distinct(&options.column, values)?,
            Categories::Top(top) => {
                let mut counts = HashMap::new();
                for (snapshot, _) in snapshots {
                    count(raw, snapshot, &options.column, &mut counts).await?;
                }
                most_common(counts, top.top as usize)
            }
        };
        if values.is_empty() {
            let what = "no training user has a value, so there is no category";
            return Err(DataError(format!("users: column `{}`: {what}", options.column)).into());
        }
        vocabularies.insert(options.column, values);
    }
    Ok(vocabularies)
}

fn check(options: &FeatureOptions, users: &DataFrame) -> Result<(), DataError> {
    let field = users.schema().as_arrow().field_with_name(&options.column);
    let found = field.map_or(DataType::Null, |field| field.data_type().clone());
    match type_problem(options, &found) {
        Some(problem) => Err(DataError(format!("users: {problem}"))),
        None => Ok(()),
    }
}

fn distinct(column: &str, values: &[String]) -> Result<Vec<String>, DataError> {
    let mut sorted = values.to_vec();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(DataError(format!(
            "`data.features`: the categories of `{column}` have `{}` twice, expected each once",
            pair[0]
        ))),
        None => Ok(values.to_vec()),
    }
}

/// Adds the training users of a date by value.
async fn count(
    raw: &RawTables,
    Snapshot { users, splits, .. }: &Snapshot,
    column: &str,
    counts: &mut HashMap<String, u64>,
) -> Result<()> {
    let frame = users.frame.clone().select(vec![ident("user_id"), ident(column)])?;
    let mut stream = raw.stream(frame, "users").await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let rows = users.index.stored_positions(batch.column(0));
        for (row, value) in rows.iter().zip(&category_texts(batch.column(1))?) {
            let is_train = row.is_some_and(|row| splits[row as usize] == Split::Train);
            if let (true, Some(value)) = (is_train, value) {
                match counts.get_mut(value) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(value.to_owned(), 1)),
                }
            }
        }
    }
    Ok(())
}

fn most_common(counts: HashMap<String, u64>, top: usize) -> Vec<String> {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(top);
    counts.into_iter().map(|(value, _)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_values_come_first_and_ties_in_order() {
        let counts = [("b", 2), ("a", 2), ("c", 5), ("d", 1)];
        let counts = counts.map(|(value, n)| (value.to_owned(), n)).into();
        assert_eq!(most_common(counts, 3), ["c", "a", "b"]);
        let twice = distinct("x", &["a", "b", "a"].map(str::to_owned)).unwrap_err();
        assert!(twice.to_string().contains("have `a` twice"), "{twice}");
    }
}
