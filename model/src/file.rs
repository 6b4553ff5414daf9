//! `model.arrow`: a model's arrays as rows, its architecture as metadata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use contract::columns::{self, ListBuilder};
use contract::features::{Feature, FeatureKind};
use contract::ipc::{Table, Writer, hash_rows};
use contract::manifest::IdSpace;
use contract::source_features::MAX_ID;
use contract::tables::MODEL;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::mlp::{Layer, Mlp};
use crate::own_history::Channel;
use crate::{Kind, Model, Persistence, Popularity};

/// Metadata key of a [`Description`] as JSON.
const ARCHITECTURE_KEY: &str = "architecture";

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Error {
    pub(crate) path: String,
    pub(crate) what: String,
}

/// All of a model but its arrays.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    kind: String,
    features: Vec<Feature>,
    brand_ids: Vec<String>,
    n_layers: usize,
    /// As [`Mlp::log_bags`]; earlier programs had none, and refuse models that do
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    log_bags: Vec<usize>,
    /// Position of the history's first channel among the sparse features
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own_history: Option<usize>,
    /// Those of its further channels
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own_history_more: Vec<usize>,
    training: serde_json::Value,
}

impl Model {
    /// The columns of `model.arrow`, and its metadata.
    pub fn to_columns(&self) -> (Vec<ArrayRef>, HashMap<String, String>) {
        let mut rows = Rows::default();
        let (kind, n_layers) = match &self.kind {
            Kind::Mlp(mlp) => {
                rows.vector("offsets", &mlp.offsets);
                rows.vector("scales", &mlp.scales);
                for (i, bag) in mlp.bags.iter().enumerate() {
                    rows.matrix(&format!("bags.{i}"), bag);
                }
                for (i, ids) in mlp.ids.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
                    // Every id is below 2^24, so `f32` holds it exactly.
                    let ids: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
                    rows.vector(&format!("bags.{i}.ids"), &Array1::from(ids));
                }
                for (i, layer) in mlp.layers.iter().enumerate() {
                    rows.matrix(&format!("layers.{i}.weights"), &layer.weights);
                    rows.vector(&format!("layers.{i}.bias"), &layer.bias);
                }
                for (i, channel) in mlp.own_history.iter().enumerate() {
                    let name = channel_name(i);
                    rows.matrix(&format!("{name}.own"), &channel.own);
                    rows.vector(&format!("{name}.common"), &channel.common);
                    rows.vector(&format!("{name}.knots"), &Array1::from(channel.knots.clone()));
                }
                ("mlp", mlp.layers.len())
            }
            Kind::Popularity(model) => {
                rows.vector("prior", &model.prior);
                ("popularity", 0)
            }
            Kind::Persistence(model) => {
                rows.vector("prior", &model.prior);
                ("persistence", 0)
            }
        };
        let (log_bags, channels): (Vec<usize>, Vec<usize>) = match &self.kind {
            Kind::Mlp(mlp) => {
                (mlp.log_bags.clone(), mlp.own_history.iter().map(|channel| channel.bag).collect())
            }
            _ => Default::default(),
        };
        let description = Description {
            kind: kind.to_owned(),
            features: self.features().to_vec(),
            brand_ids: self.brand_ids.clone(),
            n_layers,
            log_bags,
            own_history: channels.first().copied(),
            own_history_more: channels.get(1..).unwrap_or_default().to_vec(),
            training: self.training.clone(),
        };
        let text = serde_json::to_string(&description).expect("plain data");
        (rows.finish(), HashMap::from([(ARCHITECTURE_KEY.to_owned(), text)]))
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    ///
    /// As [`Writer`].
    pub fn save(&self, path: &std::path::Path) -> Result<(), contract::ipc::Error> {
        let (rows, metadata) = self.to_columns();
        let mut writer = Writer::create(path, &MODEL, MODEL.fields(), metadata)?;
        writer.write(rows)?;
        writer.finish()?.commit()
    }

    /// Reads the model of a table.
    ///
    /// # Errors
    ///
    /// What is wrong with its metadata, or with an array that is missing or does not fit the others.
    pub fn from_table(table: &Table) -> Result<Self, Error> {
        Ok(Self::from_table_with(table)?.0)
    }

    /// Hash of what the model computes, which is its arrays, features and brands but not
    /// [`Model::training`]. Two trainings with the same result have the same hash.
    pub fn hash(&self) -> String {
        let plain = Self { training: serde_json::Value::Null, ..self.clone() };
        let (columns, metadata) = plain.to_columns();
        let schema = Arc::new(Schema::new(MODEL.fields()));
        let rows = RecordBatch::try_new(schema, columns).expect("the columns of a model");
        let texts = metadata.values().map(String::as_str); // just one, the architecture
        hash_rows(texts, [rows]).expect("a single batch can be hashed")
    }

    /// Reads the model of a table, and the values of its arrays that do not belong to the model.
    ///
    /// # Errors
    ///
    /// As [`Self::from_table`].
    pub fn from_table_with(table: &Table) -> Result<(Self, HashMap<String, Vec<f32>>), Error> {
        let fail = |what: String| Error { path: table.path.display().to_string(), what };
        let text = table
            .metadata(ARCHITECTURE_KEY)
            .ok_or_else(|| fail("has no architecture in its metadata".into()))?;
        let description: Description = serde_json::from_str(text)
            .map_err(|err| fail(format!("its architecture cannot be read: {err}")))?;
        check_names(&description).map_err(fail)?;
        let mut arrays = Arrays::of(table).map_err(fail)?;
        let kind = build(&description, &mut arrays).map_err(fail)?;
        let model = Self { kind, brand_ids: description.brand_ids, training: description.training };
        if model.n_outputs() != model.brand_ids.len() {
            let what = format!(
                "gives {} logits, but names {} brands",
                model.n_outputs(),
                model.brand_ids.len()
            );
            return Err(fail(what));
        }
        Ok((model, arrays.0.into_iter().map(|(name, (_, values))| (name, values)).collect()))
    }

    fn n_outputs(&self) -> usize {
        match &self.kind {
            Kind::Mlp(mlp) => mlp.n_brands(),
            Kind::Popularity(model) => model.prior.len(),
            Kind::Persistence(model) => model.prior.len(),
        }
    }
}

/// An array that does not belong to the model, as columns of `model.arrow`.
pub fn array_columns(name: &str, values: &[f32]) -> Vec<ArrayRef> {
    let mut rows = Rows::default();
    rows.push(name, &[values.len() as u32], values);
    rows.finish()
}

#[derive(Default)]
struct Rows {
    names: Vec<String>,
    shapes: ListBuilder<u32>,
    data: ListBuilder<f32>,
}

impl Rows {
    fn push(&mut self, name: &str, shape: &[u32], data: &[f32]) {
        self.names.push(name.to_owned());
        self.shapes.push(shape);
        self.data.push(data);
    }

    fn vector(&mut self, name: &str, values: &Array1<f32>) {
        self.push(name, &[values.len() as u32], &values.to_vec());
    }

    fn matrix(&mut self, name: &str, values: &Array2<f32>) {
        let data: Vec<f32> = values.iter().copied().collect();
        self.push(name, &[values.nrows() as u32, values.ncols() as u32], &data);
    }

    fn finish(self) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from(self.names)), self.shapes.finish(), self.data.finish()]
    }
}

/// Two brands or two features of one name could not be told apart.
fn check_names(description: &Description) -> Result<(), String> {
    fn twice<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
        let mut seen = HashSet::new();
        names.find(|name| !seen.insert(name.as_str()))
    }
    if description.brand_ids.is_empty() {
        return Err("names no brand".to_owned());
    }
    if let Some(brand) = twice(description.brand_ids.iter()) {
        return Err(format!("names brand `{brand}` twice, expected each once"));
    }
    match twice(description.features.iter().map(|feature| &feature.name)) {
        Some(name) => Err(format!("reads feature `{name}` twice, expected each once")),
        None => Ok(()),
    }
}

/// Shape and values of the arrays in a file, by name.
struct Arrays(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Arrays {
    fn of(table: &Table) -> Result<Self, String> {
        let mut arrays = HashMap::new();
        for batch in &table.batches {
            let names = columns::texts(batch, "name");
            let (shapes, data) =
                (columns::u32_lists(batch, "shape"), columns::f32_lists(batch, "data"));
            for (i, name) in names.iter().enumerate() {
                let name = name.unwrap_or_default();
                let shape: Vec<usize> = shapes.get(i).iter().map(|&n| n as usize).collect();
                let values = data.get(i);
                let n_values = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
                if n_values != Some(values.len()) {
                    return Err(format!(
                        "array `{name}` has shape {shape:?}, but {} values",
                        values.len()
                    ));
                }
                if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                    return Err(format!("array `{name}` holds {bad}, expected finite numbers"));
                }
                if arrays.insert(name.to_owned(), (shape, values.to_vec())).is_some() {
                    return Err(format!("array `{name}` appears twice, expected once"));
                }
            }
        }
        Ok(Self(arrays))
    }

    fn take<const N: usize>(&mut self, name: &str) -> Result<([usize; N], Vec<f32>), String> {
        let (shape, data) =
            self.0.remove(name).ok_or_else(|| format!("array `{name}` is missing"))?;
        let shape = shape.try_into().map_err(|shape: Vec<usize>| {
            format!("array `{name}` has shape {shape:?}, expected {N} dimensions")
        })?;
        Ok((shape, data))
    }

    fn vector(&mut self, name: &str) -> Result<Array1<f32>, String> {
        let ([_], data) = self.take(name)?;
        Ok(Array1::from(data))
    }

    fn matrix(&mut self, name: &str) -> Result<Array2<f32>, String> {
        let (shape, data) = self.take::<2>(name)?;
        Ok(Array2::from_shape_vec(shape, data).expect("shape checked when read"))
    }
}

fn build(description: &Description, arrays: &mut Arrays) -> Result<Kind, String> {
    match description.kind.as_str() {
        "popularity" => Ok(Kind::Popularity(Popularity { prior: arrays.vector("prior")? })),
        "persistence" => Ok(Kind::Persistence(persistence(description, arrays)?)),
        "mlp" => Ok(Kind::Mlp(mlp(description, arrays)?)),
        other => {
            Err(format!("is a model of kind `{other}`, expected mlp, popularity or persistence"))
        }
    }
}

fn persistence(description: &Description, arrays: &mut Arrays) -> Result<Persistence, String> {
    let [history] = description.features.as_slice() else {
        return Err("a persistence model reads one feature".to_owned());
    };
    if !is_brands(history) {
        let history = history.describe();
        return Err(format!(
            "a persistence model reads a list of brands, its feature is {history}"
        ));
    }
    Ok(Persistence { history: history.clone(), prior: arrays.vector("prior")? })
}

fn mlp(description: &Description, arrays: &mut Arrays) -> Result<Mlp, String> {
    let n_bags = description.features.iter().filter(|f| f.is_sparse()).count();
    let bags = description.own_history.iter().chain(&description.own_history_more).enumerate();
    let own_history = bags.map(|(i, &bag)| channel(i, bag, arrays)).collect::<Result<_, _>>()?;
    let mlp = Mlp {
        features: description.features.clone(),
        offsets: arrays.vector("offsets")?,
        scales: arrays.vector("scales")?,
        ids: ids(description, arrays)?,
        log_bags: description.log_bags.clone(),
        bags: (0..n_bags).map(|i| arrays.matrix(&format!("bags.{i}"))).collect::<Result<_, _>>()?,
        layers: (0..description.n_layers)
            .map(|i| {
                let weights = arrays.matrix(&format!("layers.{i}.weights"))?;
                Ok(Layer { weights, bias: arrays.vector(&format!("layers.{i}.bias"))? })
            })
            .collect::<Result<_, String>>()?,
        own_history,
    };
    check_shapes(&mlp)?;
    Ok(mlp)
}

/// What the names of a channel's arrays start with. The first has no number: models of one channel
/// had none.
fn channel_name(i: usize) -> String {
    if i == 0 { "own_history".to_owned() } else { format!("own_history.{i}") }
}

fn channel(i: usize, bag: usize, arrays: &mut Arrays) -> Result<Channel, String> {
    let name = channel_name(i);
    Ok(Channel {
        bag,
        knots: arrays.vector(&format!("{name}.knots"))?.to_vec(),
        own: arrays.matrix(&format!("{name}.own"))?,
        common: arrays.vector(&format!("{name}.common"))?,
    })
}

/// The ids that have a row of weights, as [`Mlp::ids`].
fn ids(description: &Description, arrays: &mut Arrays) -> Result<Vec<Vec<u32>>, String> {
    let sparse = description.features.iter().filter(|feature| feature.is_sparse());
    let ids = sparse.enumerate().map(|(i, feature)| {
        let name = format!("bags.{i}.ids");
        let Some((_, values)) = arrays.0.remove(&name) else { return Ok(Vec::new()) };
        if is_brands(feature) {
            return Err(format!("array `{name}` names ids, but the feature holds brands"));
        }
        let is_id = |value: &f32| *value >= 0.0 && *value <= MAX_ID as f32 && value.fract() == 0.0;
        if !values.iter().all(is_id) || !values.is_sorted_by(|a, b| a < b) {
            return Err(format!("array `{name}` does not hold ascending ids"));
        }
        Ok(values.into_iter().map(|id| id as u32).collect())
    });
    ids.collect()
}

pub(crate) fn is_brands(feature: &Feature) -> bool {
    matches!(feature.kind, FeatureKind::Sparse { ids: IdSpace::Brands, .. })
}

fn check_shapes(mlp: &Mlp) -> Result<(), String> {
    let mut dims = mlp.features.iter().map(Feature::n_dense);
    let n_dense = dims.try_fold(0_usize, usize::checked_add).unwrap_or(usize::MAX);
    for (i, (bag, ids)) in mlp.bags.iter().zip(&mlp.ids).enumerate() {
        if !ids.is_empty() && ids.len() != bag.nrows() {
            return Err(format!("bags.{i} has {} rows, but names {} ids", bag.nrows(), ids.len()));
        }
    }
    if let Some(i) = mlp.log_bags.iter().find(|&&i| i >= mlp.bags.len()) {
        return Err(format!(
            "reads logarithms of sparse feature {i}, but there are {}",
            mlp.bags.len()
        ));
    }
    if mlp.layers.is_empty() {
        return Err("a network needs a layer".to_owned());
    }
    if let Some(i) = mlp.layers.iter().position(|layer| layer.bias.is_empty()) {
        return Err(format!("layer {i} has no unit"));
    }
    let mut n_in = n_dense;
    if mlp.offsets.len() != n_dense || mlp.scales.len() != n_dense {
        return Err(format!(
            "`offsets` and `scales` must have {n_dense} values, as the dense features have"
        ));
    }
    for (i, layer) in mlp.layers.iter().enumerate() {
        if layer.weights.dim() != (n_in, layer.bias.len()) {
            return Err(format!(
                "layer {i} has weights {:?} and {} biases, but {n_in} inputs",
                layer.weights.dim(),
                layer.bias.len()
            ));
        }
        n_in = layer.bias.len();
    }
    let width = mlp.layers[0].bias.len();
    match mlp.bags.iter().position(|bag| bag.ncols() != width) {
        Some(i) => {
            Err(format!("bags.{i} has {} columns, the first layer {width}", mlp.bags[i].ncols()))
        }
        None => mlp
            .own_history
            .iter()
            .enumerate()
            .try_for_each(|(i, channel)| check_channel(mlp, &channel_name(i), channel)),
    }
}

fn check_channel(mlp: &Mlp, name: &str, channel: &Channel) -> Result<(), String> {
    let n_own = if channel.has_level() { 2 } else { 1 };
    let expected = (mlp.n_brands(), n_own, channel.n_terms());
    let (n_brands, n_own) = channel.own.dim();
    let found = (n_brands, n_own, channel.common.len());
    if found != expected {
        return Err(format!(
            "`{name}` has weights for {found:?} brands, own and common terms, \
             expected {expected:?}"
        ));
    }
    if channel.bag >= mlp.bags.len() {
        return Err(format!(
            "`{name}` reads sparse feature {}, but there are {}",
            channel.bag,
            mlp.bags.len()
        ));
    }
    match mlp.features.iter().filter(|feature| feature.is_sparse()).nth(channel.bag) {
        Some(history) if !is_brands(history) => {
            Err(format!("`{name}` reads a list of brands, not {}", history.describe()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ndarray::array;

    pub(crate) fn model() -> Model {
        let history =
            Feature::new("past", FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Brands });
        Model {
            kind: Kind::Mlp(Mlp {
                features: vec![history],
                offsets: array![],
                scales: array![],
                ids: vec![Vec::new()],
                log_bags: vec![0],
                bags: vec![array![[1.0, 2.0], [3.0, 4.0]]],
                layers: vec![
                    Layer { weights: Array2::zeros((0, 2)), bias: array![0.0, 0.5] },
                    Layer {
                        weights: array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
                        bias: array![7.0, 8.0, 9.0],
                    },
                ],
                own_history: vec![
                    Channel {
                        bag: 0,
                        knots: vec![0.5, 1.5],
                        own: Array2::from_shape_fn((3, 2), |(i, t)| (10 * i + t) as f32),
                        common: array![1.0, 2.0, 3.0, 4.0],
                    },
                    Channel {
                        bag: 0,
                        knots: vec![0.25],
                        own: Array2::from_shape_fn((3, 1), |(i, _)| (100 + 10 * i) as f32),
                        common: array![5.0, 6.0],
                    },
                ],
            }),
            brand_ids: ["a", "b", "c"].map(str::to_owned).to_vec(),
            training: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_model_reads_back_as_written() {
        let dir = std::env::temp_dir().join(format!("model-file-test-{}", std::process::id()));
        let path = dir.join("model.arrow");
        model().save(&path).unwrap();
        let read = Model::from_table(&contract::ipc::read(&path, &MODEL).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", model()));
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// Files from before there were several channels have these names.
    #[test]
    fn a_model_of_one_channel_is_written_as_it_always_was() {
        let mut model = model();
        let Kind::Mlp(mlp) = &mut model.kind else { panic!("it is an mlp") };
        mlp.own_history.truncate(1);
        mlp.log_bags = Vec::new();
        let (columns, metadata) = model.to_columns();
        let architecture = &metadata[ARCHITECTURE_KEY];
        assert!(architecture.contains(r#""own_history":0,"training""#), "{architecture}");
        let names = columns[0].as_any().downcast_ref::<StringArray>().unwrap();
        let names: Vec<&str> =
            names.iter().flatten().filter(|name| name.starts_with("own_history")).collect();
        assert_eq!(names, ["own_history.own", "own_history.common", "own_history.knots"]);
        let read = read_back((columns, metadata)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{model:?}"));
    }

    /// A file of these rows, with an architecture in its metadata.
    fn read_back(
        (columns, metadata): (Vec<ArrayRef>, HashMap<String, String>),
    ) -> Result<Model, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.arrow");
        let mut writer = Writer::create(&path, &MODEL, MODEL.fields(), metadata).unwrap();
        writer.write(columns).unwrap();
        writer.finish().unwrap().commit().unwrap();
        let table = contract::ipc::read(&path, &MODEL).unwrap();
        Model::from_table(&table).map_err(|err| err.what)
    }

    fn edited(from: &str, to: &str) -> String {
        let (columns, mut metadata) = model().to_columns();
        let text = metadata.get_mut(ARCHITECTURE_KEY).unwrap();
        assert!(text.contains(from), "{text}");
        *text = text.replacen(from, to, 1);
        read_back((columns, metadata)).expect_err("it is not a valid model")
    }

    #[test]
    fn an_impossible_architecture_is_rejected() {
        assert_eq!(
            edited(r#"["a","b","c"]"#, r#"["a","b","a"]"#),
            "names brand `a` twice, expected each once"
        );
        assert_eq!(edited(r#"["a","b","c"]"#, "[]"), "names no brand");
        assert_eq!(
            edited(r#"["a","b","c"]"#, r#"["a","b"]"#),
            "gives 3 logits, but names 2 brands"
        );
        assert_eq!(
            edited(r#""log_bags":[0]"#, r#""log_bags":[1]"#),
            "reads logarithms of sparse feature 1, but there are 1"
        );
        let own = edited(r#""ids":"brands""#, r#""ids":"own""#);
        assert_eq!(own, "`own_history` reads a list of brands, not `past` (list of ids)");
        let huge = format!(r#"{{"dense":{{"dim":{}}}}}"#, usize::MAX);
        let sparse = r#"{"sparse":{"is_weighted":false,"ids":"brands"}}"#;
        let dense =
            format!(r#"{sparse}}},{{"name":"x","kind":{huge}}},{{"name":"y","kind":{huge}"#);
        assert!(edited(sparse, &dense).contains("`offsets` and `scales` must have"));
        assert_eq!(
            edited(r#""kind":"mlp""#, r#""kind":"wide""#),
            "is a model of kind `wide`, expected mlp, popularity or persistence"
        );
    }

    #[test]
    fn a_persistence_model_reads_brands() {
        let history = Feature::new("x", FeatureKind::Dense { dim: 2 });
        let kind = Kind::Persistence(Persistence { history, prior: array![1.0, 2.0, 3.0] });
        let err = read_back(Model { kind, ..model() }.to_columns()).unwrap_err();
        assert_eq!(
            err,
            "a persistence model reads a list of brands, its feature is `x` (dense, 2)"
        );
    }

    /// The product of three sides of 2^32 - 1 does not fit in 64 bits.
    #[test]
    fn impossible_arrays_are_rejected() {
        let with = |name: &str, shape: &[u32], data: &[f32]| {
            let kind = Kind::Popularity(Popularity { prior: array![1.0, 2.0, 3.0] });
            let (_, metadata) = Model { kind, ..model() }.to_columns();
            let mut rows = Rows::default();
            rows.push("prior", &[3], &[1.0, 2.0, 3.0]);
            rows.push(name, shape, data);
            read_back((rows.finish(), metadata)).map(|_| ())
        };
        assert_eq!(with("more", &[2], &[1.0, 2.0]), Ok(()));
        let err = with("more", &[u32::MAX; 3], &[1.0]).unwrap_err();
        assert!(err.starts_with("array `more` has shape [4294967295"), "{err}");
        let err = with("prior", &[1], &[1.0]).unwrap_err();
        assert_eq!(err, "array `prior` appears twice, expected once");
        let err = with("more", &[1], &[f32::NAN]).unwrap_err();
        assert_eq!(err, "array `more` holds NaN, expected finite numbers");
    }

    #[test]
    fn the_ids_of_rows_read_back_as_written() {
        let mut model = model();
        let Kind::Mlp(mlp) = &mut model.kind else { panic!("it is an mlp") };
        let kind = FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Own };
        mlp.features.push(Feature::new("tags", kind));
        mlp.bags.push(array![[1.0, 2.0], [3.0, 4.0]]);
        mlp.ids = vec![Vec::new(), vec![7, 16_777_215]];
        let Kind::Mlp(read) = read_back(model.to_columns()).unwrap().kind else { panic!() };
        assert_eq!(read.ids, [vec![], vec![7, 16_777_215]]);

        let mut with_ids = |ids: Vec<u32>| {
            let Kind::Mlp(mlp) = &mut model.kind else { panic!("it is an mlp") };
            mlp.ids[1] = ids;
            read_back(model.to_columns()).unwrap_err()
        };
        assert_eq!(with_ids(vec![7]), "bags.1 has 2 rows, but names 1 ids");
        assert_eq!(with_ids(vec![7, 7]), "array `bags.1.ids` does not hold ascending ids");
    }

    #[test]
    fn the_hash_is_of_what_a_model_computes() {
        let hash = model().hash();
        let retrained = Model { training: serde_json::json!({"updates": 7}), ..model() };
        assert_eq!(retrained.hash(), hash);
        assert_eq!(read_back(model().to_columns()).unwrap().hash(), hash);
        let mut reversed = model();
        reversed.brand_ids.reverse();
        assert_ne!(reversed.hash(), hash);
        let mut other = model();
        let Kind::Mlp(mlp) = &mut other.kind else { panic!("it is an mlp") };
        mlp.layers[1].bias[0] += 1.0;
        assert_ne!(other.hash(), hash);
    }
}
