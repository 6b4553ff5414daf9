//! The test users as a small table, `reference.arrow`: a row for each number, id and brand.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array};
use contract::columns::{self, ListBuilder};
use contract::drift::What;
use contract::features::Feature;
use contract::ipc::{self, Table};
use contract::tables::REFERENCE;
use ndarray::ArrayView2;

use super::counts::{BrandCounts, Counts, NumberCounts};
use super::measures::{ListedId, Measures, Number, Sample};
use crate::decide::{Decider, UserDecision};

/// The test users, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub measures: Measures,
    pub counts: Counts,
    sample: Sample,
}

/// Metadata keys: users that were looked at, and all of them.
const N_USERS_KEY: &str = "n_users";
const N_DECIDED_KEY: &str = "n_decided";

/// `kind` of a brand's row; those of features are [`name`].
const BRAND: &str = "brand";

/// `kind` of a feature's row.
fn name(what: What) -> &'static str {
    match what {
        What::Value => "value",
        What::NIds => "n_ids",
        What::SumOfWeights => "sum_of_weights",
        What::HasId => "has_id",
    }
}

/// Mean and standard deviation from sums.
pub fn moments(n: u64, sum: f64, squares: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 0.0);
    }
    let mean = sum / n as f64;
    (mean, (squares / n as f64 - mean * mean).max(0.0).sqrt())
}

#[derive(Default)]
struct Rows {
    kinds: Vec<&'static str>,
    features: Vec<String>,
    places: Vec<u32>,
    means: Vec<f64>,
    sds: Vec<f64>,
    predicted: Vec<Option<f64>>,
    edges: ListBuilder<f32>,
    counts: ListBuilder<u32>,
}

impl Rows {
    fn push(
        &mut self,
        (kind, feature, place): (&'static str, &str, u32),
        (mean, sd): (f64, f64),
        (edges, counts): (&[f32], &[u64]),
        predicted: Option<f64>,
    ) {
        self.kinds.push(kind);
        self.features.push(feature.to_owned());
        self.places.push(place);
        self.means.push(mean);
        self.sds.push(sd);
        self.predicted.push(predicted);
        self.edges.push(edges);
        // No more users than are sampled.
        self.counts.push(&counts.iter().map(|&n| n as u32).collect::<Vec<_>>());
    }
}

impl Reference {
    /// What test users have; [`Self::add_scored`] adds what is predicted for them.
    pub fn of_users(users: &Table, features: &[Feature], n_brands: usize) -> Self {
        let sample = Sample::of(users.n_rows());
        let measures = Measures::of(users, features, n_brands, sample);
        let mut counts = Counts::empty(&measures);
        counts.add_features(&measures, users, 0, sample);
        Self { measures, counts, sample }
    }

    #[cfg(test)]
    pub fn of_counts(measures: Measures, counts: Counts) -> Self {
        let sample = Sample::of(counts.n_decided as usize);
        Self { measures, counts, sample }
    }

    /// Adds what is predicted for a batch of the users.
    ///
    /// * `logits`: `(n_users, n_brands)`.
    /// * `first`: row of the first.
    pub fn add_scored(
        &mut self,
        decider: &Decider,
        logits: ArrayView2<f32>,
        decisions: &[UserDecision],
        first: usize,
    ) {
        self.counts.add_probs(decider, logits, first, self.sample);
        self.counts.add_decisions(decisions);
    }

    /// Metadata of the table.
    pub fn metadata(&self) -> [(String, String); 2] {
        [
            (N_USERS_KEY.to_owned(), self.counts.n_users.to_string()),
            (N_DECIDED_KEY.to_owned(), self.counts.n_decided.to_string()),
        ]
    }

    /// Rows of the table.
    pub fn to_columns(&self) -> Vec<ArrayRef> {
        let Self { measures, counts, .. } = self;
        let n = counts.n_users;
        let mut rows = Rows::default();
        for (number, counted) in measures.numbers.iter().zip(&counts.numbers) {
            let of = (name(number.what), number.feature.name.as_str(), number.place);
            let moments = moments(n, counted.sum, counted.squares);
            rows.push(of, moments, (&number.edges, &counted.bins), None);
        }
        for (listed, &hits) in measures.ids.iter().zip(&counts.ids) {
            let of = (name(What::HasId), listed.feature.name.as_str(), listed.id);
            let moments = moments(n, hits as f64, hits as f64);
            rows.push(of, moments, (&[0.0], &[n - hits, hits]), None);
        }
        for (brand, (probs, &predicted)) in counts.brands.iter().zip(&counts.predicted).enumerate()
        {
            let (sum, squares) = probs.sums();
            let share = predicted as f64 / counts.n_decided.max(1) as f64;
            let of = (BRAND, "", brand as u32);
            rows.push(of, moments(n, sum, squares), (&[], &[]), Some(share));
        }
        vec![
            Arc::new(StringArray::from(rows.kinds)),
            Arc::new(StringArray::from(rows.features)),
            Arc::new(UInt32Array::from(rows.places)),
            Arc::new(Float64Array::from(rows.means)),
            Arc::new(Float64Array::from(rows.sds)),
            Arc::new(Float64Array::from(rows.predicted)),
            rows.edges.finish(),
            rows.counts.finish(),
        ]
    }

    /// Reads the table.
    ///
    /// * `features`: those of the model.
    ///
    /// # Errors
    ///
    /// A row that no version of this program writes, or rows of another model.
    pub fn from_table(
        table: &Table,
        features: &[Feature],
        n_brands: usize,
    ) -> Result<Self, ipc::Error> {
        let broken = |found: String| table.broken(&REFERENCE, found);
        let number_of = |key: &str| {
            let number = table.metadata(key).and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| broken(format!("its metadata does not say `{key}`")))
        };
        let (n_users, n_decided) = (number_of(N_USERS_KEY)?, number_of(N_DECIDED_KEY)?);
        let mut measures = Measures { n_brands, ..Measures::default() };
        let mut counts = Counts { n_users, n_decided, ..Counts::default() };
        for batch in &table.batches {
            let (kinds, names) = (columns::texts(batch, "kind"), columns::texts(batch, "feature"));
            let places = columns::u32s(batch, "place");
            let (means, sds) = (columns::f64s(batch, "mean"), columns::f64s(batch, "sd"));
            let predicted = columns::nullable_f64s(batch, "predicted");
            let (edges, bins) =
                (columns::f32_lists(batch, "edges"), columns::u32_lists(batch, "counts"));
            for row in 0..batch.num_rows() {
                let place = places[row];
                let sum = means[row] * n_users as f64;
                let squares = (sds[row].powi(2) + means[row].powi(2)) * n_users as f64;
                let is_sum = sum.is_finite() && squares.is_finite();
                if kinds.value(row) == BRAND {
                    let share = predicted[row].unwrap_or_default();
                    let is_sound = (0.0..=1.0).contains(&share)
                        && (0.0..=1.0).contains(&means[row])
                        && is_sum
                        && place as usize == counts.brands.len();
                    if !is_sound {
                        return Err(broken(format!(
                            "row {row} is not brand {}",
                            counts.brands.len()
                        )));
                    }
                    counts.brands.push(BrandCounts::of_sums(sum, squares));
                    counts.predicted.push((share * n_decided as f64).round() as u64);
                    continue;
                }
                let feature = features.iter().find(|feature| feature.name == names.value(row));
                let feature = feature
                    .ok_or_else(|| {
                        broken(format!("the model does not read `{}`", names.value(row)))
                    })?
                    .clone();
                let bins: Vec<u64> = bins.get(row).iter().map(|&n| n.into()).collect();
                let what = [What::Value, What::NIds, What::SumOfWeights, What::HasId]
                    .into_iter()
                    .find(|&what| name(what) == kinds.value(row));
                let is_of = match what {
                    Some(What::Value) => (place as usize) < feature.n_dense(),
                    Some(_) => feature.is_sparse(),
                    None => false,
                };
                let edges = edges.get(row).to_vec();
                if !is_of || !is_sum || bins.len() != edges.len() + 1 {
                    return Err(broken(format!(
                        "row {row}: `{}` of feature `{}` with {} edges and {} counts is nothing that \
                         is counted",
                        kinds.value(row),
                        feature.name,
                        edges.len(),
                        bins.len()
                    )));
                }
                match what.expect("checked above") {
                    What::HasId => {
                        measures.ids.push(ListedId { feature, id: place });
                        counts.ids.push(*bins.last().expect("one more than edges"));
                    }
                    what => {
                        measures.numbers.push(Number { feature, what, place, edges });
                        counts.numbers.push(NumberCounts { bins, sum, squares });
                    }
                }
            }
        }
        if counts.brands.len() != n_brands {
            let found = format!("has {} brands, the model {n_brands}", counts.brands.len());
            return Err(broken(found));
        }
        Ok(Self { measures, counts, sample: Sample::of(n_decided as usize) })
    }
}
