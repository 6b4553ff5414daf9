//! Rows of the output: decisions by brand position -> the ids and names of brands.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, ListArray, RecordBatch, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::columns::{column, f32_lists, u32_lists};
use contract::tables::{PREDICTED_BRANDS, PREDICTED_USERS};

use super::brands::Brands;
use crate::table::fields_with_ids;

/// Which brands of a user are written.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// The most probable, instead of those that are predicted
    pub are_top: bool,
    /// Only those of at least this probability
    pub min_prob: f32,
}

/// Brands of some users, best first.
struct Chosen {
    /// Where each user's brands end, from 0
    ends: Vec<i32>,
    brands: UInt32Array,
    probs: Vec<f32>,
    are_predicted: Vec<bool>,
}

impl Selection {
    fn choose(self, part: &RecordBatch) -> Chosen {
        let predicted = (u32_lists(part, "predicted"), f32_lists(part, "predicted_probs"));
        let top = (u32_lists(part, "top_brands"), f32_lists(part, "top_probs"));
        let (mut brands, mut probs, mut are_predicted) = (Vec::new(), Vec::new(), Vec::new());
        let mut ends = vec![0];
        let mut ranked: Vec<(u32, f32)> = Vec::new();
        for row in 0..part.num_rows() {
            let of_user = predicted.0.get(row);
            let (from, their_probs) = if self.are_top {
                (top.0.get(row), top.1.get(row))
            } else {
                (of_user, predicted.1.get(row))
            };
            ranked.clear();
            let pairs = from.iter().copied().zip(their_probs.iter().copied());
            ranked.extend(pairs.filter(|&(_, prob)| prob >= self.min_prob));
            // The most probable are in order, by more digits than the probabilities have.
            if !self.are_top {
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            }
            for &(brand, prob) in &ranked {
                brands.push(brand);
                probs.push(prob);
                are_predicted.push(of_user.binary_search(&brand).is_ok());
            }
            ends.push(brands.len() as i32);
        }
        Chosen { ends, brands: brands.into(), probs, are_predicted }
    }
}

impl Chosen {
    /// Users without a brand.
    fn n_without(&self) -> u64 {
        self.ends.windows(2).filter(|ends| ends[0] == ends[1]).count() as u64
    }
}

/// How many there are.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Brands that were written
    pub n_brands: u64,
    /// Users without one
    pub n_without: u64,
}

/// Makes rows of the output.
pub struct Rows<'a> {
    pub brands: &'a Brands,
    pub selection: Selection,
    pub is_wide: bool,
    /// Columns of the output
    pub schema: SchemaRef,
}

impl<'a> Rows<'a> {
    /// * `ids`: type of the users' ids.
    pub fn new(brands: &'a Brands, selection: Selection, is_wide: bool, ids: &DataType) -> Self {
        let fields = if is_wide {
            wide_fields(brands, selection, ids)
        } else {
            let mut fields = fields_with_ids(&PREDICTED_BRANDS, ids);
            fields[1] = Field::new("brand_id", brands.ids.data_type().clone(), false);
            if !selection.are_top {
                fields.pop(); // all are predicted
            }
            fields
        };
        Self { brands, selection, is_wide, schema: Arc::new(Schema::new(fields)) }
    }

    /// The rows of some users.
    ///
    /// # Errors
    ///
    /// If the part has a brand that does not exist.
    pub fn of(&self, part: &RecordBatch, counts: &mut Counts) -> Result<RecordBatch> {
        let chosen = self.selection.choose(part);
        counts.n_brands += chosen.brands.len() as u64;
        counts.n_without += chosen.n_without();
        let users = column(part, "user_id");
        let columns =
            if self.is_wide { self.wide(users, chosen)? } else { self.long(users, chosen)? };
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn long(&self, users: &ArrayRef, chosen: Chosen) -> Result<Vec<ArrayRef>> {
        let (mut user_rows, mut ranks) = (Vec::new(), Vec::new());
        for (user, ends) in chosen.ends.windows(2).enumerate() {
            let n = (ends[1] - ends[0]) as u32;
            user_rows.extend((0..n).map(|_| user as u32));
            ranks.extend(1..=n);
        }
        let mut columns = vec![
            take(users, &UInt32Array::from(user_rows), None)?,
            take(&self.brands.ids, &chosen.brands, None)?,
            take(&self.brands.names, &chosen.brands, None)?,
            Arc::new(Float32Array::from(chosen.probs)) as ArrayRef,
            Arc::new(UInt32Array::from(ranks)),
        ];
        if self.selection.are_top {
            columns.push(Arc::new(BooleanArray::from(chosen.are_predicted)));
        }
        Ok(columns)
    }

    fn wide(&self, users: &ArrayRef, chosen: Chosen) -> Result<Vec<ArrayRef>> {
        let offsets = OffsetBuffer::new(chosen.ends.into());
        let list = |values: ArrayRef| -> Result<ArrayRef> {
            let item = Arc::new(Field::new_list_field(values.data_type().clone(), false));
            Ok(Arc::new(ListArray::try_new(item, offsets.clone(), values, None)?))
        };
        let mut columns = vec![
            users.clone(),
            list(take(&self.brands.ids, &chosen.brands, None)?)?,
            list(take(&self.brands.names, &chosen.brands, None)?)?,
            list(Arc::new(Float32Array::from(chosen.probs)))?,
        ];
        if self.selection.are_top {
            columns.push(list(Arc::new(BooleanArray::from(chosen.are_predicted)))?);
        }
        Ok(columns)
    }
}

fn wide_fields(brands: &Brands, selection: Selection, ids: &DataType) -> Vec<Field> {
    let list =
        |name, item: &DataType| Field::new(name, DataType::new_list(item.clone(), false), false);
    let mut fields = fields_with_ids(&PREDICTED_USERS, ids);
    fields.insert(1, list("brand_ids", brands.ids.data_type()));
    fields.insert(2, list("brand_names", &DataType::Utf8));
    if selection.are_top {
        fields.push(list("are_predicted", &DataType::Boolean));
    }
    fields
}
