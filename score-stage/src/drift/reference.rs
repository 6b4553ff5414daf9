//! The test users as a small table, `reference.arrow`: a row for each number, id and brand.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
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
        let mut reference = Self {
            measures: Measures { n_brands, ..Measures::default() },
            counts: Counts { n_users, n_decided, ..Counts::default() },
            sample: Sample::of(n_decided as usize),
        };
        for batch in &table.batches {
            let shares = columns::nullable_f64s(batch, "predicted");
            for (row, predicted) in shares.into_iter().enumerate() {
                let read = Row { predicted, ..Row::of(batch, row) };
                let added = if read.kind == BRAND {
                    reference.add_brand(&read)
                } else {
                    reference.add_feature(&read, features)
                };
                added.map_err(|found| broken(format!("row {row}: {found}")))?;
            }
        }
        let found = reference.counts.brands.len();
        if found != n_brands {
            return Err(broken(format!("has {found} brands, the model {n_brands}")));
        }
        Ok(reference)
    }

    fn add_brand(&mut self, row: &Row) -> Result<(), String> {
        let counts = &mut self.counts;
        let share = row.predicted.unwrap_or_default();
        let are_shares = [share, row.mean].iter().all(|share| (0.0..=1.0).contains(share));
        let next = counts.brands.len();
        if !are_shares || !row.sd.is_finite() || row.place as usize != next {
            return Err(format!("expected brand {next} with shares of 0 to 1"));
        }
        let (sum, squares) = row.sums(counts.n_users);
        counts.brands.push(BrandCounts::of_sums(sum, squares));
        counts.predicted.push((share * counts.n_decided as f64).round() as u64);
        Ok(())
    }

    fn add_feature(&mut self, row: &Row, features: &[Feature]) -> Result<(), String> {
        let feature = features.iter().find(|feature| feature.name == row.feature);
        let feature =
            feature.ok_or_else(|| format!("the model does not read `{}`", row.feature))?.clone();
        let what = [What::Value, What::NIds, What::SumOfWeights, What::HasId]
            .into_iter()
            .find(|&what| name(what) == row.kind);
        let is_of_feature = |what| match what {
            What::Value => (row.place as usize) < feature.n_dense(),
            What::NIds | What::SumOfWeights | What::HasId => feature.is_sparse(),
        };
        let (sum, squares) = row.sums(self.counts.n_users);
        let is_sound =
            sum.is_finite() && squares.is_finite() && row.bins.len() == row.edges.len() + 1;
        let Some(what) = what.filter(|&what| is_of_feature(what) && is_sound) else {
            return Err(format!(
                "`{}` of feature `{}` with {} edges and {} counts is nothing that is counted",
                row.kind,
                row.feature,
                row.edges.len(),
                row.bins.len()
            ));
        };
        let bins: Vec<u64> = row.bins.iter().map(|&n| n.into()).collect();
        if what == What::HasId {
            self.counts.ids.push(*bins.last().expect("one more than edges"));
            self.measures.ids.push(ListedId { feature, id: row.place });
        } else {
            let (place, edges) = (row.place, row.edges.to_vec());
            self.measures.numbers.push(Number { feature, what, place, edges });
            self.counts.numbers.push(NumberCounts { bins, sum, squares });
        }
        Ok(())
    }
}

/// A row of the table.
struct Row<'a> {
    kind: &'a str,
    feature: &'a str,
    place: u32,
    mean: f64,
    sd: f64,
    predicted: Option<f64>,
    edges: &'a [f32],
    bins: &'a [u32],
}

impl<'a> Row<'a> {
    /// Without the column with nulls.
    fn of(batch: &'a RecordBatch, row: usize) -> Self {
        Self {
            kind: columns::texts(batch, "kind").value(row),
            feature: columns::texts(batch, "feature").value(row),
            place: columns::u32s(batch, "place")[row],
            mean: columns::f64s(batch, "mean")[row],
            sd: columns::f64s(batch, "sd")[row],
            predicted: None,
            edges: columns::f32_lists(batch, "edges").get(row),
            bins: columns::u32_lists(batch, "counts").get(row),
        }
    }

    /// Sums of the values and of their squares over `n` users.
    fn sums(&self, n: u64) -> (f64, f64) {
        let n = n as f64;
        (self.mean * n, (self.sd.powi(2) + self.mean.powi(2)) * n)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::datatypes::Schema;
    use contract::features::FeatureKind;
    use contract::manifest::IdSpace;

    use super::*;

    fn features() -> Vec<Feature> {
        let sparse = FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Own };
        vec![Feature::new("x", FeatureKind::Dense { dim: 2 }), Feature::new("tags", sparse)]
    }

    /// Of 4 users: x[1] is 1, 2, 3, 4; tags are two a user, id 7 of one; brand 1 is predicted for one.
    fn reference() -> Reference {
        let [x, tags] = <[Feature; 2]>::try_from(features()).unwrap();
        let numbers = vec![
            Number { feature: x, what: What::Value, place: 1, edges: vec![1.5, 3.0] },
            Number { feature: tags.clone(), what: What::NIds, place: 0, edges: vec![1.0, 2.0] },
        ];
        let ids = vec![ListedId { feature: tags, id: 7 }];
        let number =
            |bins: [u64; 3], sum, squares| NumberCounts { bins: bins.to_vec(), sum, squares };
        let counts = Counts {
            n_users: 4,
            numbers: vec![number([1, 2, 1], 10.0, 30.0), number([0, 4, 0], 8.0, 16.0)],
            ids: vec![1],
            brands: vec![BrandCounts::of_sums(1.0, 0.5), BrandCounts::of_sums(0.25, 0.0625)],
            n_decided: 4,
            predicted: vec![0, 1],
        };
        Reference::of_counts(Measures { numbers, ids, n_brands: 2 }, counts)
    }

    fn table(columns: Vec<ArrayRef>, metadata: HashMap<String, String>) -> Table {
        let schema = Arc::new(Schema::new_with_metadata(REFERENCE.fields(), metadata));
        let batches = vec![RecordBatch::try_new(schema.clone(), columns).unwrap()];
        Table { schema, batches, path: "reference.arrow".into() }
    }

    #[test]
    fn the_test_users_read_back_as_written() {
        let written = reference();
        let table = table(written.to_columns(), written.metadata().into());
        let read = Reference::from_table(&table, &features(), 2).unwrap();
        assert_eq!(read.measures, written.measures);
        let (read, written) = (read.counts, written.counts);
        for (a, b) in read.numbers.iter().zip(&written.numbers) {
            assert_eq!(a.bins, b.bins);
            assert!((a.sum - b.sum).abs() < 1e-9 && (a.squares - b.squares).abs() < 1e-9);
        }
        assert_eq!((read.ids, read.predicted), (written.ids, written.predicted));
        let apart = |a: &BrandCounts, b: &BrandCounts| a.squares.abs_diff(b.squares);
        assert!(read.brands.iter().zip(&written.brands).all(|(a, b)| apart(a, b) < 1000));
    }

    #[test]
    fn rows_of_another_model_are_rejected() {
        let written = reference();
        let table = table(written.to_columns(), written.metadata().into());
        let found = |features: &[Feature], n_brands| {
            Reference::from_table(&table, features, n_brands).unwrap_err().to_string()
        };
        assert!(found(&features(), 3).contains("has 2 brands, the model 3"));
        assert!(found(&features()[1..], 2).contains("row 0: the model does not read `x`"));
        let number = Feature::new("x", FeatureKind::Dense { dim: 1 });
        let message = found(&[number, features().remove(1)], 2);
        assert!(message.contains("row 0: `value` of feature `x` with 2 edges"), "{message}");
        let without = self::table(written.to_columns(), HashMap::new());
        let message = Reference::from_table(&without, &features(), 2).unwrap_err().to_string();
        assert!(message.contains("its metadata does not say `n_users`"), "{message}");
    }
}
