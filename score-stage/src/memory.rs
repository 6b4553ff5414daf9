//! What the nearest training users have, mixed into a model's probabilities.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use arrow::array::ArrayRef;
use contract::columns::{self, ListBuilder};
use contract::exit::DataError;
use contract::ipc::Table;
use contract::manifest::Memory as Params;
use contract::tables::MEMORY;
use model::mlp::mix_probabilities;
use model::sigmoid::{ln, parts};
use model::{Batch, Inputs, Kind, Mlp, Model, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::index::{Index, Neighbour};
use crate::users::{BATCH, Labels};

/// Wider hidden layers are projected at random to this many dimensions, which keeps cosines
/// to about 1/16: a gigabyte for a million users.
const MAX_DIMS: usize = 256;

/// Seed of that projection.
const PROJECTION_SEED: u64 = 7;

/// Rows of a batch in `memory.arrow`.
const ROWS_PER_BATCH: usize = 65_536;

const METADATA_KEY: &str = "memory";

/// Training users by what the last hidden layer makes of them.
pub struct Memory {
    params: Params,
    space: Space,
    index: Index,
    labels: LabelLists,
}

/// From a hidden layer to vectors of length 1 whose product says how near two users are.
#[derive(Serialize, Deserialize)]
struct Space {
    /// Hash of the model: another's hidden layer means something else
    model: String,
    /// Mean of the training users
    centre: Vec<f32>,
    /// `(n_hidden, MAX_DIMS)`
    #[serde(skip)]
    projection: Option<Array2<f32>>,
}

/// Brands of each training user.
#[derive(Default)]
struct LabelLists {
    offsets: Vec<usize>,
    values: Vec<u32>,
}

/// A group of users with their labels: training users, or after a refit the valid users.
pub struct Users<'a> {
    /// Their features
    pub inputs: &'a Inputs<'a>,
    /// Row of the inputs, and labels, of each
    pub rows: Vec<(u32, &'a [u32])>,
}

impl<'a> Users<'a> {
    /// The users of a sample: each once, as its first example that is no clone.
    ///
    /// # Errors
    ///
    /// A row or a brand that is not there.
    pub fn of_examples(
        examples: &'a Table,
        inputs: &'a Inputs<'a>,
        n_brands: usize,
    ) -> Result<Self, DataError> {
        let mut rows = Vec::new();
        let mut is_known = vec![false; inputs.n_users()];
        Labels::of(examples, "brands", n_brands)?;
        for batch in &examples.batches {
            let user_rows = columns::u32s(batch, "user_row");
            let brands = columns::u32_lists(batch, "brands");
            let is_clone = columns::bools(batch, "is_clone");
            for (i, &row) in user_rows.iter().enumerate().filter(|&(i, _)| !is_clone.value(i)) {
                if row as usize >= inputs.n_users() {
                    let what = format!(
                        "{}: `user_row` {row}, but there are {} users in features",
                        examples.path.display(),
                        inputs.n_users()
                    );
                    return Err(DataError(what));
                }
                if !std::mem::replace(&mut is_known[row as usize], true) {
                    rows.push((row, brands.get(i)));
                }
            }
        }
        Ok(Self { inputs, rows })
    }

    /// All users of the holdout's table.
    pub fn of_holdout(inputs: &'a Inputs<'a>, labels: &Labels<'a>) -> Self {
        let n_users = inputs.n_users();
        Self { inputs, rows: (0..n_users as u32).zip(labels.lists(0, n_users)).collect() }
    }
}

impl Space {
    /// The network's vectors `(n_users, n_dims)` of a hidden layer `(n_users, n_hidden)`.
    fn vectors(&self, hidden: ArrayView2<f32>) -> Array2<f32> {
        let centre = ndarray::aview1(&self.centre);
        let mut vectors = &hidden - &centre;
        if let Some(projection) = &self.projection {
            let mut projected = Array2::zeros((hidden.nrows(), projection.ncols()));
            model::matmul::matmul(vectors.view(), projection.view(), false, projected.view_mut());
            vectors = projected;
        }
        for mut row in vectors.rows_mut() {
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row /= length;
            }
        }
        vectors
    }

    fn with_projection(model: String, centre: Vec<f32>) -> Self {
        let n_hidden = centre.len();
        let projection = (n_hidden > MAX_DIMS).then(|| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(PROJECTION_SEED);
            Array2::from_shape_simple_fn((n_hidden, MAX_DIMS), || StandardNormal.sample(&mut rng))
        });
        Self { model, centre, projection }
    }
}

impl Memory {
    /// Remembers training users.
    ///
    /// * `hash`: of the model.
    ///
    /// # Errors
    ///
    /// If the model has no hidden layer, or there is no user.
    pub fn build(
        (model, hash): (&Model, String),
        users: &[Users],
        params: Params,
    ) -> Result<Self, DataError> {
        let mlp = network(model)?;
        let n_users: usize = users.iter().map(|part| part.rows.len()).sum();
        if n_users == 0 {
            return Err(DataError("`score.memory`: the sample has no user to remember".to_owned()));
        }
        // One pass for the mean, one for the vectors: the hidden layer of all users may be
        // many times what is kept of it.
        let mut sum = Array1::<f64>::zeros(mlp.hidden_width().expect("checked"));
        for_each_hidden(mlp, users, |hidden| {
            for row in hidden.rows() {
                sum.zip_mut_with(&row, |sum, &h| *sum += f64::from(h));
            }
        });
        let centre = sum.iter().map(|sum| (sum / n_users as f64) as f32).collect();
        let space = Space::with_projection(hash, centre);
        let n_dims = space.centre.len().min(MAX_DIMS);
        let mut vectors = Array2::zeros((n_users, n_dims));
        let mut done = 0;
        for_each_hidden(mlp, users, |hidden| {
            let of_batch = space.vectors(hidden);
            vectors.slice_mut(s![done..done + hidden.nrows(), ..]).assign(&of_batch);
            done += hidden.nrows();
        });
        let mut labels = LabelLists::default();
        labels.extend(users.iter().flat_map(|part| part.rows.iter().map(|&(_, brands)| brands)));
        Ok(Self { params, space, index: Index::new(vectors), labels })
    }

    /// As `memory.arrow` has it.
    ///
    /// * `hash`: of the model.
    ///
    /// # Errors
    ///
    /// If it was made for another model, or a value cannot be.
    pub fn from_table(table: &Table, (model, hash): (&Model, &str)) -> Result<Self> {
        let broken = |what: &str| DataError(format!("{}: {what}", table.path.display()));
        let (params, space): (Params, Space) = table
            .metadata(METADATA_KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| table.broken(&MEMORY, "its metadata cannot be read"))?;
        let n_hidden = network(model)?.hidden_width();
        ensure!(
            space.model == hash && n_hidden == Some(space.centre.len()),
            broken("made for another model; score again, with `make score`")
        );
        let Params { neighbours, temperature, search, .. } = params;
        let is_sound = neighbours > 0
            && temperature.is_none_or(|t| t > 0.0 && t.is_finite())
            && search > 0.0
            && search <= 1.0
            && space.centre.iter().all(|mean| mean.is_finite());
        ensure!(is_sound, broken("its metadata have values that cannot be"));
        let space = Space::with_projection(space.model, space.centre);
        let n_dims = space.centre.len().min(MAX_DIMS);
        let mut values = Vec::new();
        let mut labels = LabelLists::default();
        for batch in &table.batches {
            for vector in columns::f32_lists(batch, "vector").iter() {
                ensure!(vector.len() == n_dims, broken("has vectors of another length"));
                // Of length 1, or 0 where a user is as the mean.
                let square: f32 = vector.iter().map(|x| x * x).sum();
                ensure!(square < 1.001, broken("has a vector that is longer than 1, or no number"));
                values.extend_from_slice(vector);
            }
            labels.extend(columns::u32_lists(batch, "brands").iter());
        }
        ensure!(!values.is_empty(), broken("has no user"));
        let n_brands = model.brand_ids.len();
        ensure!(
            labels.values.iter().all(|&brand| (brand as usize) < n_brands),
            broken("a brand is beyond the model's")
        );
        let vectors = Array2::from_shape_vec((values.len() / n_dims, n_dims), values)?;
        Ok(Self { params, space, index: Index::new(vectors), labels })
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

    /// Share of the true nearest neighbours that the search finds.
    ///
    /// * `hidden`: `(n_users, n_hidden)`, of users who ask.
    pub fn recall(&self, hidden: ArrayView2<f32>) -> f64 {
        let Params { neighbours, search, .. } = self.params;
        let asked = self.space.vectors(hidden);
        let found = self.index.nearest(asked.view(), neighbours, search);
        let exact = self.index.nearest(asked.view(), neighbours, 1.0);
        let (mut n_found, mut n_exact) = (0, 0);
        for (found, exact) in found.iter().zip(&exact) {
            let found: HashSet<u32> = found.iter().map(|&(_, row)| row).collect();
            n_found += exact.iter().filter(|(_, row)| found.contains(row)).count();
            n_exact += exact.len();
        }
        n_found as f64 / n_exact as f64
    }

    /// Mean of the neighbours' labels, by how near they are.
    ///
    /// * `hidden`: `(n_users, n_hidden)`, of the users who ask.
    ///
    /// Returns `(n_users, n_brands)`, values in `[0, 1]`.
    pub fn label_means(&self, hidden: ArrayView2<f32>, n_brands: usize) -> Array2<f32> {
        let Params { neighbours, search, temperature, .. } = self.params;
        let lists = self.index.nearest(self.space.vectors(hidden).view(), neighbours, search);
        let mut means = Array2::zeros((hidden.nrows(), n_brands));
        means.axis_iter_mut(Axis(0)).into_par_iter().zip(&lists).for_each(|(mut row, list)| {
            let nearest = list.first().map_or(0.0, |&(similarity, _)| similarity);
            let weight = |&(similarity, _): &Neighbour| {
                temperature.map_or(1.0, |t| ((similarity - nearest) / t).exp())
            };
            let total: f32 = list.iter().map(weight).sum();
            for neighbour in list {
                let share = weight(neighbour) / total;
                for &brand in self.labels.get(neighbour.1 as usize) {
                    row[brand as usize] += share;
                }
            }
            // Shares may add up to a little more than 1.
            row.mapv_inplace(|mean: f32| mean.min(1.0));
        });
        means
    }
}

/// A memory and the share of it in each brand's probability.
pub struct Blend<'a> {
    /// Who is asked
    pub memory: &'a Memory,
    /// `(n_brands,)`
    pub weights: Vec<f32>,
}

impl Blend<'_> {
    /// Mixes the neighbours' labels into the logits of the users of `hidden`.
    pub fn mix_in(&self, hidden: ArrayView2<f32>, mut logits: ArrayViewMut2<f32>) {
        if self.weights.iter().all(|&weight| weight == 0.0) {
            return;
        }
        let means = self.memory.label_means(hidden, logits.ncols());
        let rows = logits.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(means.axis_iter(Axis(0)).into_par_iter()).for_each(|(mut logits, means)| {
            let logits = logits.as_slice_mut().expect("rows lie whole");
            let means = means.to_slice().expect("rows lie whole");
            mix_probabilities(logits, means, &self.weights);
        });
    }
}

/// Shares of the memory to choose from.
const WEIGHTS: [f32; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Cross-entropy of each share of the memory, by brand group.
pub struct WeightSearch {
    /// Group of each brand
    groups: Vec<usize>,
    /// `(n_groups, WEIGHTS)`
    losses: Vec<[f64; WEIGHTS.len()]>,
}

impl WeightSearch {
    /// * `groups`: `(n_brands,)`, brands of one number have one weight.
    pub fn new(groups: Vec<usize>) -> Self {
        let n_groups = groups.iter().max().map_or(0, |&last| last + 1);
        Self { groups, losses: vec![[0.0; WEIGHTS.len()]; n_groups] }
    }

    /// Adds users.
    ///
    /// * `logits`: `(n_users, n_brands)` of the model, `means` of the memory.
    pub fn add<'a>(
        &mut self,
        logits: ArrayView2<f32>,
        means: ArrayView2<f32>,
        labels: impl Iterator<Item = &'a [u32]>,
    ) {
        let labels: Vec<&[u32]> = labels.collect();
        let of_users: Vec<_> = labels
            .par_iter()
            .enumerate()
            .map(|(i, labels)| self.of_user(logits.row(i), means.row(i), labels))
            .collect();
        // In order of users, so that the sums do not depend on threads.
        for of_user in of_users {
            for (sum, loss) in self.losses.iter_mut().flatten().zip(of_user.iter().flatten()) {
                *sum += loss;
            }
        }
    }

    fn of_user(
        &self,
        logits: ndarray::ArrayView1<f32>,
        means: ndarray::ArrayView1<f32>,
        labels: &[u32],
    ) -> Vec<[f64; WEIGHTS.len()]> {
        /// A cell's loss is bounded, or one label that no neighbour has would decide.
        const SMALLEST: f32 = 1e-7;
        let mut losses = vec![[0.0; WEIGHTS.len()]; self.losses.len()];
        for (brand, (&z, &mean)) in logits.iter().zip(means).enumerate() {
            let of_model = parts(z);
            for (loss, weight) in losses[self.groups[brand]].iter_mut().zip(WEIGHTS) {
                let (_, q) = of_model.mixed(mean, weight);
                *loss -= f64::from(ln(q.max(SMALLEST)));
            }
        }
        for &brand in labels {
            let of_model = parts(logits[brand as usize]);
            let mean = means[brand as usize];
            let group = &mut losses[self.groups[brand as usize]];
            for (loss, weight) in group.iter_mut().zip(WEIGHTS) {
                let (p, q) = of_model.mixed(mean, weight);
                *loss += f64::from(ln(q.max(SMALLEST))) - f64::from(ln(p.max(SMALLEST)));
            }
        }
        losses
    }

    /// The weight of least loss of each brand; of equals the smaller.
    pub fn weights(&self) -> Vec<f32> {
        let best_of = |losses: &[f64; WEIGHTS.len()]| {
            let best = (0..WEIGHTS.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b]));
            WEIGHTS[best.expect("there are weights")]
        };
        let of_groups: Vec<f32> = self.losses.iter().map(best_of).collect();
        self.groups.iter().map(|&group| of_groups[group]).collect()
    }
}

impl LabelLists {
    fn extend<'a>(&mut self, lists: impl Iterator<Item = &'a [u32]>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        for list in lists {
            self.values.extend_from_slice(list);
            self.offsets.push(self.values.len());
        }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn get(&self, row: usize) -> &[u32] {
        &self.values[self.offsets[row]..self.offsets[row + 1]]
    }
}

/// The network of a model that has a hidden layer.
fn network(model: &Model) -> Result<&Mlp, DataError> {
    match &model.kind {
        Kind::Mlp(mlp) if mlp.hidden_width().is_some() => Ok(mlp),
        _ => {
            let what = "`score.memory` needs a network with a hidden layer; see `train.hidden`";
            Err(DataError(what.to_owned()))
        }
    }
}

/// Calls `each` with the last hidden layer `(n_users, n_hidden)` of every batch of users.
fn for_each_hidden(mlp: &Mlp, users: &[Users], mut each: impl FnMut(ArrayView2<f32>)) {
    let mut batch = Batch::default();
    let mut workspace = Workspace::default();
    for part in users {
        for rows in part.rows.chunks(BATCH) {
            part.inputs.gather(rows.iter().map(|&(row, _)| row as usize), &mut batch);
            mlp.forward_hidden(&batch, &mut workspace, None);
            each(workspace.hidden[workspace.hidden.len() - 1].view());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::{Feature, FeatureKind};
    use contract::ipc::{self, Writer};
    use contract::tables::FEATURES;
    use model::mlp::Layer;
    use ndarray::{Array, array};

    /// A hidden layer that hands its two inputs on, if they are positive, and one brand.
    fn identity() -> Model {
        Model {
            kind: Kind::Mlp(Mlp {
                features: vec![Feature { name: "x".into(), kind: FeatureKind::Dense { dim: 2 } }],
                offsets: Array::zeros(2),
                scales: Array::ones(2),
                ids: Vec::new(),
                bags: Vec::new(),
                layers: vec![
                    Layer { weights: Array2::eye(2), bias: Array::zeros(2) },
                    Layer {
                        weights: array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
                        bias: Array::zeros(3),
                    },
                ],
                own_history: None,
            }),
            brand_ids: ["a", "b", "c"].map(str::to_owned).to_vec(),
            training: serde_json::Value::Null,
        }
    }

    /// A table of users with the feature `x`.
    fn users(dir: &std::path::Path, x: &[[f32; 2]]) -> Table {
        use arrow::array::{FixedSizeListArray, Float32Array, Int64Array};
        use arrow::datatypes::{DataType, Field};
        let item = std::sync::Arc::new(Field::new("item", DataType::Float32, false));
        let values = std::sync::Arc::new(Float32Array::from(x.as_flattened().to_vec()));
        let vectors = FixedSizeListArray::new(item, 2, values, None);
        let ids: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..x.len() as i64));
        let fields = vec![
            Field::new("user_id", DataType::Int64, false),
            Field::new("x", arrow::array::Array::data_type(&vectors).clone(), false),
        ];
        let path = dir.join("users.arrow");
        let mut writer = Writer::create(&path, &FEATURES, fields, HashMap::new()).unwrap();
        writer.write(vec![ids, std::sync::Arc::new(vectors)]).unwrap();
        writer.finish().unwrap().commit().unwrap();
        ipc::read(&path, &FEATURES).unwrap()
    }

    fn remember(params: Params, check: impl FnOnce(&Memory)) {
        let dir = tempfile::tempdir().unwrap();
        let model = identity();
        // Their mean is (2, 2): less it they point along the axes.
        let table = users(dir.path(), &[[4.0, 2.0], [2.0, 4.0], [0.0, 2.0], [2.0, 0.0]]);
        let inputs = model.inputs(&table).unwrap();
        let labels: [&[u32]; 4] = [&[0, 1], &[1], &[2], &[]];
        let users = Users { inputs: &inputs, rows: (0..4).zip(labels).collect() };
        check(&Memory::build((&model, "hash".to_owned()), &[users], params).unwrap());
    }

    /// From (5, 3), less the mean (3, 1) / 3.162: cosines .949 to user 0, .316 to user 1, the
    /// negatives of these to users 2 and 3.
    #[test]
    fn near_users_count_by_their_cosine() {
        let params = Params { neighbours: 2, temperature: Some(0.5), ..Params::default() };
        remember(params, |memory| {
            let means = memory.label_means(array![[5.0, 3.0]].view(), 3);
            let second = ((0.316_23_f32 - 0.948_68) / 0.5).exp();
            assert!((means[[0, 0]] - 1.0 / (1.0 + second)).abs() < 1e-4, "{means}");
            assert!((means[[0, 1]] - 1.0).abs() < 1e-5 && means[[0, 2]] == 0.0, "{means}");
        });
        let alike = Params { neighbours: 3, temperature: None, ..Params::default() };
        remember(alike, |memory| {
            let means = memory.label_means(array![[5.0, 3.0]].view(), 3);
            // Users 0, 1 and 3: the last has no label.
            assert!((means[[0, 0]] - 1.0 / 3.0).abs() < 1e-5, "{means}");
            assert!((means[[0, 1]] - 2.0 / 3.0).abs() < 1e-5, "{means}");
        });
    }

    /// Half of the model's .5 and half of the neighbour's 1 is .75, log-odds 1.0986; a weight of
    /// 0 leaves the logit to the last bit.
    #[test]
    fn the_memory_is_mixed_into_probabilities_not_logits() {
        let params = Params { neighbours: 1, ..Params::default() };
        remember(params, |memory| {
            let mut logits = array![[0.0, -3.3, 0.0]];
            let blend = Blend { memory, weights: vec![0.5, 0.0, 0.5] };
            blend.mix_in(array![[9.0, 2.5]].view(), logits.view_mut());
            assert!((logits[[0, 0]] - 3.0_f32.ln()).abs() < 1e-5, "{logits}");
            assert_eq!(logits[[0, 1]].to_bits(), (-3.3_f32).to_bits());
            assert!((logits[[0, 2]] - (0.25_f32 / 0.75).ln()).abs() < 1e-5, "{logits}");
        });
    }

    /// For brands of group 0 the memory knows and the model does not; for group 1 the reverse.
    #[test]
    fn each_group_gets_the_weight_of_least_loss() {
        let mut search = WeightSearch::new(vec![0, 1, 0]);
        let logits = array![[-1.0, 5.0, -1.0], [-1.0, -5.0, -1.0]];
        let means = array![[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]];
        let labels: [&[u32]; 2] = [&[0, 1], &[2]];
        search.add(logits.view(), means.view(), labels.into_iter());
        assert_eq!(search.weights(), [0.9, 0.0, 0.9]);
    }

    #[test]
    fn a_memory_is_the_same_when_read_again() {
        remember(Params { neighbours: 2, ..Params::default() }, |memory| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("memory.arrow");
            let fields = MEMORY.fields();
            let mut writer = Writer::create(&path, &MEMORY, fields, memory.metadata()).unwrap();
            memory.to_columns().for_each(|rows| writer.write(rows).unwrap());
            writer.finish().unwrap().commit().unwrap();
            let again =
                Memory::from_table(&ipc::read(&path, &MEMORY).unwrap(), (&identity(), "hash"))
                    .unwrap();
            let asked = array![[5.0, 3.0], [0.0, 0.5]];
            assert_eq!(again.label_means(asked.view(), 3), memory.label_means(asked.view(), 3));
            let other = Model {
                kind: Kind::Popularity(model::Popularity { prior: Array::zeros(3) }),
                ..identity()
            };
            let err = Memory::from_table(&ipc::read(&path, &MEMORY).unwrap(), (&other, "hash"))
                .err()
                .unwrap();
            assert!(err.to_string().contains("hidden layer"), "{err}");
            let table = ipc::read(&path, &MEMORY).unwrap();
            let err = Memory::from_table(&table, (&identity(), "another")).err().unwrap();
            assert!(err.to_string().contains("made for another model"), "{err}");
        });
    }

    /// What a memory may not be, and what the message says of it.
    #[test]
    fn a_memory_that_cannot_be_is_refused() {
        type Change = fn(&mut serde_json::Value, &mut Vec<Vec<f32>>);
        let cases: [(&str, Change); 9] = [
            ("its metadata cannot be read", |metadata, _| *metadata = 7.into()),
            ("values that cannot be", |metadata, _| metadata[0]["neighbours"] = 0.into()),
            ("values that cannot be", |metadata, _| metadata[0]["temperature"] = 0.into()),
            ("values that cannot be", |metadata, _| metadata[0]["search"] = (-1).into()),
            ("made for another model", |metadata, _| metadata[1]["centre"] = [1, 2, 3].into()),
            ("made for another model", |metadata, _| metadata[1]["model"] = "other".into()),
            ("vectors of another length", |_, vectors| vectors[1] = vec![1.0]),
            ("longer than 1, or no number", |_, vectors| vectors[1] = vec![f32::NAN, 0.0]),
            ("has no user", |_, vectors| vectors.clear()),
        ];
        remember(Params::default(), |memory| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("memory.arrow");
            for (expected, change) in cases {
                let mut metadata = memory.metadata();
                let mut values = serde_json::from_str(&metadata[METADATA_KEY]).unwrap();
                let mut vectors = vec![vec![1.0, 0.0]; 2];
                change(&mut values, &mut vectors);
                metadata.insert(METADATA_KEY.to_owned(), values.to_string());
                let fields = MEMORY.fields();
                let mut writer = Writer::create(&path, &MEMORY, fields, metadata).unwrap();
                let mut lists = ListBuilder::<f32>::default();
                let mut brands = ListBuilder::<u32>::default();
                for vector in &vectors {
                    lists.push(vector);
                    brands.push(&[0]);
                }
                writer.write(vec![lists.finish(), brands.finish()]).unwrap();
                writer.finish().unwrap().commit().unwrap();
                let table = ipc::read(&path, &MEMORY).unwrap();
                let err = Memory::from_table(&table, (&identity(), "hash")).err().unwrap();
                assert!(err.to_string().contains(expected), "{expected}: {err}");
                assert_eq!(contract::cli::exit_code(&err), contract::exit::EXIT_DATA, "{expected}");
            }
        });
    }

    /// Wider than 256: a projection at random, after which near is still near.
    #[test]
    fn a_wide_layer_is_projected() {
        let number = |i: usize, j: usize| {
            (contract::splitmix::mix((i * 1000 + j) as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let hidden = Array2::from_shape_fn((3, 600), |(i, j)| {
            // The second user is the first and a fifth of noise, the third another.
            if i == 1 { number(0, j) + 0.2 * number(1, j) } else { number(i, j) }
        });
        let space = Space::with_projection(String::new(), vec![0.0; 600]);
        let vectors = space.vectors(hidden.view());
        assert_eq!(vectors.ncols(), MAX_DIMS);
        let cosine = |a: usize, b: usize| vectors.row(a).dot(&vectors.row(b));
        assert!((cosine(0, 1) - 0.98).abs() < 0.03, "{}", cosine(0, 1));
        assert!(cosine(0, 2).abs() < 0.25, "{}", cosine(0, 2));
    }
}
