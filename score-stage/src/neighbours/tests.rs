//! Neighbours, mixed into probabilities and read back from `memory.arrow`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array as _, ArrayRef, FixedSizeListArray, Float32Array, Int64Array};
use arrow::datatypes::{DataType, Field};
use contract::columns::ListBuilder;
use contract::features::{Feature, FeatureKind};
use contract::ipc::{self, Table, Writer};
use contract::manifest::IdSpace;
use contract::tables::{FEATURES, MEMORY};
use model::mlp::Layer;
use model::{Bags, Batch, Kind, Mlp, Popularity};
use ndarray::{Array, array};

use super::*;
use crate::neighbours::blend::Blend;

/// A network of two inputs and three brands with one hidden layer.
fn network_of(hidden: Array2<f32>, output: Array2<f32>) -> Model {
    let layer = |weights: Array2<f32>| Layer { bias: Array::zeros(weights.ncols()), weights };
    Model {
        kind: Kind::Mlp(Mlp {
            features: vec![Feature::new("x", FeatureKind::Dense { dim: 2 })],
            offsets: Array::zeros(2),
            scales: Array::ones(2),
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: Vec::new(),
            layers: vec![layer(hidden), layer(output)],
            own_history: Vec::new(),
        }),
        brand_ids: ["a", "b", "c"].map(str::to_owned).to_vec(),
        training: serde_json::Value::Null,
    }
}

/// Its hidden layer is the two inputs where they are positive.
fn identity() -> Model {
    network_of(Array2::eye(2), array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
}

/// A table of users with the feature `x`.
fn users(dir: &Path, x: &[[f32; 2]]) -> Table {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(x.as_flattened().to_vec()));
    let vectors = FixedSizeListArray::new(item, 2, values, None);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..x.len() as i64));
    let fields = vec![
        Field::new("user_id", DataType::Int64, false),
        Field::new("x", vectors.data_type().clone(), false),
    ];
    let path = dir.join("users.arrow");
    let mut writer = Writer::create(&path, &FEATURES, fields, HashMap::new()).unwrap();
    writer.write(vec![ids, Arc::new(vectors)]).unwrap();
    writer.finish().unwrap().commit().unwrap();
    ipc::read(&path, &FEATURES).unwrap()
}

/// Users of whom only the hidden layer matters.
fn seen(hidden: &Array2<f32>) -> Seen<'_> {
    Seen { batch: &NO_FEATURES, hidden: Some(hidden.view()) }
}

static NO_FEATURES: LazyLock<Batch> = LazyLock::new(Batch::default);

/// Four users as neighbours. Their mean is (2, 2): less it they point along the axes.
fn with_four(model: &Model, params: Params, check: impl FnOnce(Result<Neighbours, DataError>)) {
    let dir = tempfile::tempdir().unwrap();
    let table = users(dir.path(), &[[4.0, 2.0], [2.0, 4.0], [0.0, 2.0], [2.0, 0.0]]);
    let inputs = model.inputs(&table).unwrap();
    let labels: [&[u32]; 4] = [&[0, 1], &[1], &[2], &[]];
    let users = KnownUsers { inputs: &inputs, rows: (0..4).zip(labels).collect() };
    check(Neighbours::build(model, &[users], params));
}

fn with_neighbours(params: Params, check: impl FnOnce(&Neighbours)) {
    with_four(&identity(), params, |neighbours| check(&neighbours.unwrap()));
}

/// Writes `memory.arrow` and reads it as a table.
fn written(
    metadata: HashMap<String, String>,
    batches: impl Iterator<Item = Vec<ArrayRef>>,
) -> Table {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.arrow");
    let mut writer = Writer::create(&path, &MEMORY, MEMORY.fields(), metadata).unwrap();
    batches.for_each(|rows| writer.write(rows).unwrap());
    writer.finish().unwrap().commit().unwrap();
    ipc::read(&path, &MEMORY).unwrap()
}

/// From (5, 3), less the mean (3, 1) / 3.162: cosines .949 to user 0, .316 to user 1, the
/// negatives of these to users 2 and 3.
#[test]
fn near_users_count_by_their_cosine() {
    let params = Params { neighbours: 2, temperature: Some(0.5), ..Params::default() };
    with_neighbours(params, |neighbours| {
        let means = neighbours.label_means(seen(&array![[5.0, 3.0]]));
        let second = ((0.316_23_f32 - 0.948_68) / 0.5).exp();
        assert!((means[[0, 0]] - 1.0 / (1.0 + second)).abs() < 1e-4, "{means}");
        assert!((means[[0, 1]] - 1.0).abs() < 1e-5 && means[[0, 2]] == 0.0, "{means}");
    });
    let alike = Params { neighbours: 3, temperature: None, ..Params::default() };
    with_neighbours(alike, |neighbours| {
        let means = neighbours.label_means(seen(&array![[5.0, 3.0]]));
        // Users 0, 1 and 3: the last has no label.
        assert!((means[[0, 0]] - 1.0 / 3.0).abs() < 1e-5, "{means}");
        assert!((means[[0, 1]] - 2.0 / 3.0).abs() < 1e-5, "{means}");
    });
}

/// Half of the model's .5 and half of the neighbour's 1 is .75, log-odds 1.0986; a weight of
/// 0 leaves the logit to the last bit.
#[test]
fn neighbours_are_mixed_into_probabilities_not_logits() {
    let params = Params { neighbours: 1, ..Params::default() };
    with_neighbours(params, |neighbours| {
        let mut logits = array![[0.0, -3.3, 0.0]];
        let blend = Blend { neighbours, weights: &[0.5, 0.0, 0.5] };
        blend.mix_in(seen(&array![[9.0, 2.5]]), logits.view_mut());
        assert!((logits[[0, 0]] - 3.0_f32.ln()).abs() < 1e-5, "{logits}");
        assert_eq!(logits[[0, 1]].to_bits(), (-3.3_f32).to_bits());
        assert!((logits[[0, 2]] - (0.25_f32 / 0.75).ln()).abs() < 1e-5, "{logits}");
    });
}

#[test]
fn neighbours_are_the_same_when_read_again() {
    with_neighbours(Params { neighbours: 2, ..Params::default() }, |neighbours| {
        let table = written(neighbours.metadata(), neighbours.to_columns());
        let again = Neighbours::from_table(&table, &identity()).unwrap();
        let asked = array![[5.0, 3.0], [0.0, 0.5]];
        assert_eq!(again.label_means(seen(&asked)), neighbours.label_means(seen(&asked)));

        let refused = |model: &Model| Neighbours::from_table(&table, model).err().unwrap();
        let popularity = Kind::Popularity(Popularity { prior: Array::zeros(3) });
        let err = refused(&Model { kind: popularity, ..identity() });
        assert!(err.to_string().contains("hidden layer"), "{err}");
        let err = refused(&network_of(Array2::eye(2), Array2::zeros((2, 3))));
        assert!(err.to_string().contains("made for another model"), "{err}");
    });
}

/// Users 0 and 1 had brand 0, which two of four had, user 2 brand 1; user 3 nothing. A user who had
/// brand 0 has the labels of users 0 and 1, one without a history those of all.
#[test]
fn neighbours_by_history_had_the_same_brands() {
    let kind = FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Brands };
    let mut model = network_of(Array2::zeros((0, 2)), Array2::zeros((2, 3)));
    let Kind::Mlp(mlp) = &mut model.kind else { panic!("it is an mlp") };
    mlp.features = vec![Feature::new("past", kind)];
    (mlp.offsets, mlp.scales) = (Array::zeros(0), Array::zeros(0));
    mlp.bags = vec![Array2::zeros((3, 2))];
    let dir = tempfile::tempdir().unwrap();
    let mut past = ListBuilder::<u32>::default();
    for brands in [&[0][..], &[0], &[1], &[]] {
        past.push(brands);
    }
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
    let mut fields = vec![Field::new("user_id", DataType::Int64, false)];
    fields.extend(mlp.features[0].fields());
    let path = dir.path().join("users.arrow");
    let mut writer = Writer::create(&path, &FEATURES, fields, HashMap::new()).unwrap();
    writer.write(vec![ids, past.finish()]).unwrap();
    writer.finish().unwrap().commit().unwrap();
    let table = ipc::read(&path, &FEATURES).unwrap();
    let inputs = model.inputs(&table).unwrap();
    let labels: [&[u32]; 4] = [&[0, 1], &[1], &[2], &[]];
    let users = KnownUsers { inputs: &inputs, rows: (0..4).zip(labels).collect() };
    let params = Params { by: Some("past".to_owned()), neighbours: 2, ..Params::default() };
    let neighbours = Neighbours::build(&model, &[users], params.clone()).unwrap();

    let bags = Bags { offsets: vec![0, 1, 1], ids: vec![0], weights: vec![3.0] };
    let batch = Batch { dense: Array2::zeros((2, 0)), bags: vec![bags] };
    let asking = Seen { batch: &batch, hidden: None };
    let means = neighbours.label_means(asking);
    assert_eq!(means, array![[0.5, 1.0, 0.0], [0.25, 0.5, 0.25]]);

    let table = written(neighbours.metadata(), neighbours.to_columns());
    let again = Neighbours::from_table(&table, &model).unwrap();
    assert_eq!(again.label_means(asking), means);
    let other = Neighbours::build(&model, &[], Params { by: Some("x".to_owned()), ..params });
    let err = other.err().unwrap().to_string();
    assert_eq!(err, "`score.memory.by`: the model reads no list of brands `x`");
}

/// A hidden layer of width 0 makes vectors without a dimension.
#[test]
fn a_hidden_layer_without_units_is_refused() {
    let empty = network_of(Array2::zeros((2, 0)), Array2::zeros((0, 3)));
    with_four(&empty, Params::default(), |neighbours| {
        let err = neighbours.err().unwrap();
        assert!(err.to_string().contains("hidden layer"), "{err}");
    });
    with_neighbours(Params::default(), |neighbours| {
        let mut metadata = neighbours.metadata();
        let mut values: serde_json::Value = serde_json::from_str(&metadata["memory"]).unwrap();
        values[1]["centre"] = serde_json::json!([]);
        values[1]["model"] = empty.hash().into();
        metadata.insert("memory".to_owned(), values.to_string());
        let table = written(metadata, neighbours.to_columns());
        let err = Neighbours::from_table(&table, &empty).err().unwrap();
        assert!(err.to_string().contains("hidden layer"), "{err}");
    });
}

/// Each change to a sound file, and what the message says of it.
#[test]
fn a_file_with_impossible_values_is_refused() {
    type Change = fn(&mut serde_json::Value, &mut Vec<Vec<f32>>, &mut u32);
    let cases: [(&str, Change); 10] = [
        ("its metadata cannot be read", |metadata, _, _| *metadata = 7.into()),
        ("values that are out of range", |metadata, _, _| metadata[0]["neighbours"] = 0.into()),
        ("values that are out of range", |metadata, _, _| metadata[0]["temperature"] = 0.into()),
        ("values that are out of range", |metadata, _, _| metadata[0]["search"] = (-1).into()),
        ("made for another model", |metadata, _, _| metadata[1]["centre"] = [1, 2, 3].into()),
        ("made for another model", |metadata, _, _| metadata[1]["model"] = "other".into()),
        ("vectors of another length", |_, vectors, _| vectors[1] = vec![1.0]),
        ("longer than 1 or not finite", |_, vectors, _| vectors[1] = vec![f32::NAN, 0.0]),
        ("has no user", |_, vectors, _| vectors.clear()),
        ("row 0: `brands` has brand 3", |_, _, brand| *brand = 3),
    ];
    with_neighbours(Params::default(), |neighbours| {
        for (expected, change) in cases {
            let mut metadata = neighbours.metadata();
            let mut values = serde_json::from_str(&metadata["memory"]).unwrap();
            let (mut vectors, mut brand) = (vec![vec![1.0, 0.0]; 2], 0);
            change(&mut values, &mut vectors, &mut brand);
            metadata.insert("memory".to_owned(), values.to_string());
            let mut lists = ListBuilder::<f32>::default();
            let mut brands = ListBuilder::<u32>::default();
            for vector in &vectors {
                lists.push(vector);
                brands.push(&[brand]);
            }
            let rows = vec![lists.finish(), brands.finish()];
            let table = written(metadata, std::iter::once(rows));
            let err = Neighbours::from_table(&table, &identity()).err().unwrap();
            assert!(err.to_string().contains(expected), "{expected}: {err}");
            assert_eq!(contract::cli::exit_code(&err), contract::exit::EXIT_DATA, "{expected}");
        }
    });
}
