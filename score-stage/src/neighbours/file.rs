//! Neighbours as `memory.arrow`: a vector and the brands of each known user.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use arrow::array::ArrayRef;
use contract::columns::{self, ListBuilder};
use contract::commands;
use contract::exit::DataError;
use contract::ipc::Table;
use contract::manifest::Memory as Params;
use contract::tables::MEMORY;
use model::Model;
use ndarray::Array2;

use crate::labels::Labels;
use crate::neighbours::Neighbours;
use crate::neighbours::known_users::{Compared, compared};
use crate::neighbours::space::{By, Space};

/// Rows of a batch in `memory.arrow`.
const ROWS_PER_BATCH: usize = 65_536;

const METADATA_KEY: &str = "memory";

impl Neighbours {
    /// Reads `memory.arrow`.
    ///
    /// # Errors
    ///
    /// If it was made for another model, or a value is out of range.
    pub fn from_table(table: &Table, model: &Model) -> Result<Self> {
        let broken = |found: &str| table.broken(&MEMORY, found);
        let (params, space): (Params, Space) = table
            .metadata(METADATA_KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| broken("its metadata cannot be read"))?;
        let fits = match (compared(model, &params)?.1, &space.by) {
            (Compared::Hidden(n_hidden), By::Hidden { centre }) => centre.len() == n_hidden,
            (Compared::History(at), By::History { bag, factors }) => {
                at == *bag && factors.len() == model.brand_ids.len()
            }
            _ => false,
        };
        ensure!(
            space.model == model.hash() && fits,
            DataError(format!(
                "{}: made for another model
hint: score again, with `{}`",
                table.path.display(),
                commands::stage("score", "NAME")
            ))
        );
        ensure!(
            are_sound(&params, &space),
            broken("its metadata has values that are out of range")
        );
        let space = Space::new(space.model, space.by);
        let vectors = vectors(table, space.n_dims()).map_err(broken)?;
        let n_brands = model.brand_ids.len();
        let labels = Labels::of(table, &MEMORY, n_brands)?.iter().collect();
        Ok(Self::new(params, space, vectors, labels, n_brands))
    }

    /// Metadata of `memory.arrow`.
    pub fn metadata(&self) -> HashMap<String, String> {
        let text = serde_json::to_string(&(&self.params, &self.space)).expect("plain data");
        HashMap::from([(METADATA_KEY.to_owned(), text)])
    }

    /// Rows of `memory.arrow`, in batches.
    pub fn to_columns(&self) -> impl Iterator<Item = Vec<ArrayRef>> {
        let n = self.labels.len();
        let mut vectors = self.index.vectors();
        (0..n).step_by(ROWS_PER_BATCH).map(move |first| {
            let mut lists = ListBuilder::<f32>::default();
            let mut brands = ListBuilder::<u32>::default();
            for row in first..(first + ROWS_PER_BATCH).min(n) {
                lists.push(vectors.next().expect("one for each user"));
                brands.push(self.labels.get(row));
            }
            vec![lists.finish(), brands.finish()]
        })
    }
}

fn are_sound(params: &Params, space: &Space) -> bool {
    let &Params { neighbours, temperature, search, .. } = params;
    neighbours > 0
        && temperature.is_none_or(|t| t > 0.0 && t.is_finite())
        && search > 0.0
        && search <= 1.0
        && match &space.by {
            By::Hidden { centre } => centre.iter().all(|mean| mean.is_finite()),
            By::History { factors, .. } => factors.iter().all(|f| *f >= 0.0 && f.is_finite()),
        }
}

/// The vectors of all users, `(n_users, n_dims)`.
fn vectors(table: &Table, n_dims: usize) -> Result<Array2<f32>, &'static str> {
    let mut values = Vec::new();
    let mut n_users = 0;
    for vector in table.batches.iter().flat_map(|batch| columns::f32_lists(batch, "vector").iter())
    {
        if vector.len() != n_dims {
            return Err("has vectors of another length than the model's");
        }
        // Of length 1, or 0 for a user who is the mean; NaN is neither.
        let square: f32 = vector.iter().map(|x| x * x).sum();
        let is_sound = square < 1.001;
        if !is_sound {
            return Err("has a vector that is longer than 1 or not finite");
        }
        values.extend_from_slice(vector);
        n_users += 1;
    }
    if n_users == 0 {
        return Err("has no user");
    }
    Ok(Array2::from_shape_vec((n_users, n_dims), values).expect("lengths checked above"))
}
