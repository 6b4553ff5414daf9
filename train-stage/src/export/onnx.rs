//! A model as a graph from features to calibrated probabilities, the same as scoring gives.
//!
//! Lists of ids are padded to the longest of a batch with -1, as arrays have no lists. Of a list of
//! brands the ids are positions in `brand_ids`, which the file's metadata holds.

use std::f32::consts::LOG2_E;

use contract::features::{Feature, FeatureKind};
use contract::thresholds::BrandThreshold;
use model::{Channel, Kind, Mlp, Persistence};
use serde_json::json;

use super::Exported;
use super::graph::{Attribute, Element, Graph, Name, Side};

/// Names of the results.
const PROBS: &str = "probs";
const PREDICTED: &str = "predicted";

/// A threshold above every probability.
const NEVER: f32 = 2.0;

/// A feature's arrays.
enum Input {
    /// `(users, dim)`
    Dense(Name),
    /// `(users, ids)` each
    List { ids: Name, weights: Option<Name> },
}

/// The bytes of a file.
///
/// # Errors
///
/// A feature whose name cannot be used, or a network that reads nothing.
pub fn encode(exported: &Exported) -> Result<Vec<u8>, String> {
    let features = exported.model.features();
    let n_brands = exported.model.brand_ids.len();
    let mut graph = Graph::default();
    let inputs = inputs(&mut graph, features)?;
    let (logits, had) = match &exported.model.kind {
        Kind::Mlp(mlp) => network(&mut graph, mlp, &inputs)?,
        Kind::Popularity(model) => {
            (graph.floats(&[1, n_brands], model.prior.iter().copied()), None)
        }
        Kind::Persistence(model) => (persistence(&mut graph, model, &inputs[0]), None),
    };
    let n_users = match exported.model.kind {
        Kind::Popularity(_) => Side::Fixed(1), // the same for all, as it reads nothing
        _ => Side::Named("users".to_owned()),
    };
    let shape = [n_users, Side::Fixed(n_brands)];
    let probs = match &exported.brands {
        Some(brands) => {
            let logits = match had {
                Some(had) => moved(&mut graph, &logits, &had, brands),
                None => logits,
            };
            calibrated(&mut graph, &logits, brands)
        }
        None => graph.op("Sigmoid", &[&logits]),
    };
    graph.output(PROBS, &probs, Element::F32, &shape);
    if let (Some(brands), None) = (&exported.brands, &exported.policy) {
        // No probability is above 1, so a threshold of 1 stands for never.
        let threshold =
            |b: &BrandThreshold| if b.threshold < 1.0 { b.threshold as f32 } else { NEVER };
        let thresholds = graph.floats(&[1, n_brands], brands.iter().map(threshold));
        let predicted = graph.op("GreaterOrEqual", &[&probs, &thresholds]);
        graph.output(PREDICTED, &predicted, Element::Bool, &shape);
    }
    Ok(graph.finish(&[
        ("brand_ids", json!(exported.model.brand_ids).to_string()),
        ("features", json!(features).to_string()),
        ("model_hash", exported.model.hash()),
        ("is_calibrated", exported.brands.is_some().to_string()),
    ]))
}

fn inputs(graph: &mut Graph, features: &[Feature]) -> Result<Vec<Input>, String> {
    let input = |feature: &Feature| {
        let name = feature.name.as_str();
        if name == PROBS || name == PREDICTED || name.starts_with("//") {
            return Err(format!(
                "feature `{name}`: the graph has something else of this name\nhint: rename the \
                 column in a view, and train again"
            ));
        }
        let users = || Side::Named("users".to_owned());
        Ok(match feature.kind {
            FeatureKind::Dense { dim } => {
                Input::Dense(graph.input(name, Element::F32, &[users(), Side::Fixed(dim)]))
            }
            FeatureKind::Sparse { is_weighted, .. } => {
                let shape = [users(), Side::Named(format!("{name}_ids"))];
                let ids = graph.input(name, Element::I64, &shape);
                let weights = is_weighted
                    .then(|| graph.input(&feature.weights_column(), Element::F32, &shape));
                Input::List { ids, weights }
            }
        })
    };
    features.iter().map(input).collect()
}

/// Logits of a network, and which brands are in each user's history if it reads one.
fn network(graph: &mut Graph, mlp: &Mlp, inputs: &[Input]) -> Result<(Name, Option<Name>), String> {
    let dense: Vec<&Name> = inputs
        .iter()
        .filter_map(|input| match input {
            Input::Dense(name) => Some(name),
            Input::List { .. } => None,
        })
        .collect();
    let lists = || inputs.iter().filter(|input| matches!(input, Input::List { .. }));
    let mut terms = Vec::new(); // of the first layer
    if !dense.is_empty() {
        let x = match dense[..] {
            [one] => one.clone(),
            _ => graph.op_with("Concat", &dense, &[("axis", Attribute::Int(1))]),
        };
        let offsets = graph.floats(&[1, mlp.offsets.len()], mlp.offsets.iter().copied());
        let scales = graph.floats(&[1, mlp.scales.len()], mlp.scales.iter().copied());
        let x = graph.op("Sub", &[&x, &offsets]);
        let x = graph.op("Mul", &[&x, &scales]);
        let first = &mlp.layers[0].weights;
        let weights = graph.floats(&[first.nrows(), first.ncols()], first.iter().copied());
        terms.push(graph.op("MatMul", &[&x, &weights]));
    }
    for (i, list) in lists().enumerate() {
        let known = mlp.ids.get(i).map_or(&[][..], Vec::as_slice);
        let is_log = mlp.log_bags.contains(&i);
        terms.push(bag(graph, list, &mlp.bags[i], known, is_log));
    }
    let mut terms = terms.into_iter();
    let first = terms.next().ok_or("the network reads no feature")?;
    let mut x = terms.fold(first, |sum, term| graph.op("Add", &[&sum, &term]));
    for (i, layer) in mlp.layers.iter().enumerate() {
        if i > 0 {
            x = graph.op("Relu", &[&x]);
            let weights = &layer.weights;
            let weights =
                graph.floats(&[weights.nrows(), weights.ncols()], weights.iter().copied());
            x = graph.op("MatMul", &[&x, &weights]);
        }
        let bias = graph.floats(&[1, layer.bias.len()], layer.bias.iter().copied());
        x = graph.op("Add", &[&x, &bias]);
    }
    let lists: Vec<&Input> = lists().collect();
    let mut had: Option<Name> = None;
    for channel in &mlp.own_history {
        let history = lists.get(channel.bag).ok_or("own history without its list")?;
        let Channeled { logits, counts } = own_history(graph, channel, history);
        x = graph.op("Add", &[&x, &logits]);
        had = Some(match had {
            Some(others) => graph.op("Add", &[&others, &counts]),
            None => counts,
        });
    }
    let had = had.map(|counts| is_positive(graph, &counts));
    Ok((x, had))
}

/// Rows of an array that has a row of zeros before and after: 0 for -1, the padding, `n + 1` for ids that
/// have none.
fn rows(graph: &mut Graph, ids: &Name, n: usize) -> Name {
    let [zero, one, last] = [0, 1, n as i64 + 1].map(|value| graph.ints(&[], [value]));
    let row = graph.op("Add", &[ids, &one]);
    let row = graph.op("Max", &[&row, &zero]);
    graph.op("Min", &[&row, &last])
}

/// What a list adds to the first layer: `Σ weight · row`, `(users, width)`.
///
/// * `known`: as [`Mlp::ids`].
/// * `is_log`: whether it is one of [`Mlp::log_bags`].
fn bag(
    graph: &mut Graph,
    list: &Input,
    weights: &ndarray::Array2<f32>,
    known: &[u32],
    is_log: bool,
) -> Name {
    let Input::List { ids, weights: of_ids } = list else { unreachable!("bags are of lists") };
    let (n, width) = weights.dim();
    let row = match known.last() {
        None => rows(graph, ids, n),
        Some(&largest) => {
            let n_ids = largest as usize + 1;
            let mut row_of = vec![0; n_ids + 2];
            known.iter().zip(1..).for_each(|(&id, row)| row_of[id as usize + 1] = row);
            let table = graph.ints(&[n_ids + 2], row_of);
            let place = rows(graph, ids, n_ids);
            graph.op("Gather", &[&table, &place])
        }
    };
    let zeros = || std::iter::repeat_n(0.0, width);
    let values = zeros().chain(weights.iter().copied()).chain(zeros());
    let values = graph.floats(&[n + 2, width], values);
    let mut found = graph.op("Gather", &[&values, &row]); // (users, ids, width)
    let axis = graph.ints(&[1], [2]);
    if let Some(of_ids) = of_ids {
        let factors = if is_log { signed_log(graph, of_ids) } else { of_ids.clone() };
        let factors = graph.op("Unsqueeze", &[&factors, &axis]);
        found = graph.op("Mul", &[&found, &factors]);
    }
    let axis = graph.ints(&[1], [1]);
    graph.op_with("ReduceSum", &[&found, &axis], &[("keepdims", Attribute::Int(0))])
}

/// `log2(1 + |w|)` with the sign of `w`, as [`Mlp::bag_weights`].
fn signed_log(graph: &mut Graph, weights: &Name) -> Name {
    let one = graph.floats(&[1, 1], [1.0]);
    let size = graph.op("Abs", &[weights]);
    let size = graph.op("Add", &[&size, &one]);
    let log = graph.op("Log", &[&size]);
    let to_base_2 = graph.floats(&[1, 1], [LOG2_E]);
    let log = graph.op("Mul", &[&log, &to_base_2]);
    let sign = graph.op("Sign", &[weights]);
    graph.op("Mul", &[&log, &sign])
}

/// Sums values by brand: `(users, ids)` to `(users, brands)`.
fn by_brand(graph: &mut Graph, rows: &Name, values: &Name, n_brands: usize) -> Name {
    let shape = graph.op("Shape", &[rows]);
    let [zero, one, last] = [0, 1, n_brands as i64 + 1].map(|value| graph.ints(&[1], [value]));
    let n_users = graph.op("Gather", &[&shape, &zero]);
    let width = graph.ints(&[1], [n_brands as i64 + 2]);
    let shape = graph.op_with("Concat", &[&n_users, &width], &[("axis", Attribute::Int(0))]);
    let nothing = graph.floats(&[1, 1], [0.0]);
    let zeros = graph.op("Expand", &[&nothing, &shape]);
    let sums = graph.op_with(
        "ScatterElements",
        &[&zeros, rows, values],
        &[("axis", Attribute::Int(1)), ("reduction", Attribute::Text("add"))],
    );
    // Without the columns of the padding and of unknown brands.
    graph.op("Slice", &[&sums, &one, &last, &one])
}

/// How often each brand is in each list, `(users, brands)`.
fn counts(graph: &mut Graph, ids: &Name, rows: &Name, n_brands: usize) -> Name {
    let ones = ones(graph, ids);
    by_brand(graph, rows, &ones, n_brands)
}

/// As many ones as ids: `x == x`.
fn ones(graph: &mut Graph, ids: &Name) -> Name {
    let ones = graph.op("Equal", &[ids, ids]);
    graph.op_with("Cast", &[&ones], &[("to", Attribute::Int(Element::F32 as i64))])
}

fn is_positive(graph: &mut Graph, counts: &Name) -> Name {
    let zero = graph.floats(&[1, 1], [0.0]);
    graph.op("Greater", &[counts, &zero])
}

/// What a channel of a user's own history adds to the logits, and how often each brand is in it.
struct Channeled {
    logits: Name,
    counts: Name,
}

/// As [`Channel::add`].
fn own_history(graph: &mut Graph, channel: &Channel, history: &Input) -> Channeled {
    let Input::List { ids, weights } = history else { unreachable!("a history is a list") };
    let n = channel.n_brands();
    let rows = rows(graph, ids, n);
    let weights = weights.clone().unwrap_or_else(|| ones(graph, ids));
    let terms = terms(graph, channel, &weights);
    let mut sum = graph.floats(&[1, 1], [0.0]);
    for (term, &factor) in terms.iter().zip(&channel.common) {
        let factor = graph.floats(&[1, 1], [factor]);
        let part = graph.op("Mul", &[term, &factor]);
        sum = graph.op("Add", &[&sum, &part]);
    }
    for (term, column) in terms.iter().zip(channel.own.columns()) {
        let zero = std::iter::once(0.0);
        let values = zero.clone().chain(column.iter().copied()).chain(zero);
        let values = graph.floats(&[n + 2], values);
        let factors = graph.op("Gather", &[&values, &rows]);
        let part = graph.op("Mul", &[term, &factors]);
        sum = graph.op("Add", &[&sum, &part]);
    }
    let logits = by_brand(graph, &rows, &sum, n);
    Channeled { logits, counts: counts(graph, ids, &rows, n) }
}

/// As [`Channel::terms`], `(users, ids)` each.
fn terms(graph: &mut Graph, channel: &Channel, weights: &Name) -> Vec<Name> {
    let (zero, one) = (graph.floats(&[1, 1], [0.0]), graph.floats(&[1, 1], [1.0]));
    let weights = graph.op("Max", &[weights, &zero]);
    let weights = graph.op("Add", &[&weights, &one]);
    let x = graph.op("Log", &[&weights]);
    let mut terms = Vec::new();
    if channel.has_level() {
        let nothing = graph.op("Mul", &[&x, &zero]);
        terms.push(graph.op("Add", &[&nothing, &one]));
    }
    terms.push(x.clone());
    for &knot in &channel.knots {
        let knot = graph.floats(&[1, 1], [knot]);
        let beyond = graph.op("Sub", &[&x, &knot]);
        terms.push(graph.op("Relu", &[&beyond]));
    }
    terms
}

/// As [`Persistence`] scores.
fn persistence(graph: &mut Graph, model: &Persistence, history: &Input) -> Name {
    let Input::List { ids, .. } = history else { unreachable!("its feature is a list") };
    let n = model.prior.len();
    let rows = rows(graph, ids, n);
    let counts = counts(graph, ids, &rows, n);
    let had = is_positive(graph, &counts);
    let [high, low] = model.logits_of_had_and_new().map(|logits| graph.floats(&[1, n], logits));
    graph.op("Where", &[&had, &high, &low])
}

/// Logits of brands that a user had, moved as the thresholds say.
fn moved(graph: &mut Graph, logits: &Name, had: &Name, brands: &[BrandThreshold]) -> Name {
    let shape = [1, brands.len()];
    let slope = graph.floats(&shape, brands.iter().map(|b| b.history_slope as f32));
    let intercept = graph.floats(&shape, brands.iter().map(|b| b.history_intercept as f32));
    let moved = graph.op("Mul", &[logits, &slope]);
    let moved = graph.op("Add", &[&moved, &intercept]);
    graph.op("Where", &[had, &moved, logits])
}

/// Calibrated probabilities, `(users, brands)`.
fn calibrated(graph: &mut Graph, logits: &Name, brands: &[BrandThreshold]) -> Name {
    let shape = [1, brands.len()];
    let slope = graph.floats(&shape, brands.iter().map(|b| b.slope as f32));
    let intercept = graph.floats(&shape, brands.iter().map(|b| b.intercept as f32));
    let log_odds = graph.op("Mul", &[logits, &slope]);
    let log_odds = graph.op("Add", &[&log_odds, &intercept]);
    let probs = graph.op("Sigmoid", &[&log_odds]);
    let curves: Vec<Knots> = brands.iter().enumerate().filter_map(Knots::of).collect();
    if curves.is_empty() {
        return probs;
    }
    let isotonic = isotonic(graph, logits, &curves);
    // Each brand's column of both side by side.
    let both = graph.op_with("Concat", &[&probs, &isotonic], &[("axis", Attribute::Int(1))]);
    let mut columns: Vec<i64> = (0..brands.len() as i64).collect();
    for (curve, column) in curves.iter().zip(brands.len() as i64..) {
        columns[curve.brand] = column;
    }
    let columns = graph.ints(&[brands.len()], columns);
    graph.op_with("Gather", &[&both, &columns], &[("axis", Attribute::Int(1))])
}

/// A brand's curve of straight lines.
struct Knots<'a> {
    brand: usize,
    logits: &'a [f32],
    probs: &'a [f32],
}

impl<'a> Knots<'a> {
    fn of((brand, row): (usize, &'a BrandThreshold)) -> Option<Self> {
        let more = row.more.as_ref().filter(|more| !more.knot_logits.is_empty())?;
        Some(Self { brand, logits: &more.knot_logits, probs: &more.knot_probs })
    }

    /// Start, slope and rise of the line after a knot; a line that rises by nothing after the last one.
    fn line(&self, knot: usize) -> [f32; 3] {
        match (self.logits.get(knot + 1), self.probs.get(knot + 1)) {
            (Some(next), Some(prob)) => {
                let start = self.logits[knot];
                [start, 1.0 / (next - start), prob - self.probs[knot]]
            }
            _ => [0.0, 0.0, 0.0],
        }
    }
}

/// `y0 + Σ rise · clip((z - start) · slope, 0, 1)` over the lines, `(users, curves.len())`.
fn isotonic(graph: &mut Graph, logits: &Name, curves: &[Knots]) -> Name {
    let shape = [1, curves.len()];
    let brands = graph.ints(&[curves.len()], curves.iter().map(|curve| curve.brand as i64));
    let z = graph.op_with("Gather", &[logits, &brands], &[("axis", Attribute::Int(1))]);
    let first = graph.floats(&shape, curves.iter().map(|curve| curve.probs[0]));
    let (zero, one) = (graph.floats(&[1, 1], [0.0]), graph.floats(&[1, 1], [1.0]));
    let n_lines = curves.iter().map(|curve| curve.logits.len() - 1).max().unwrap_or(0);
    // So that a brand without lines has as many rows as there are users.
    let nothing = graph.op("Mul", &[&z, &zero]);
    let mut sum = graph.op("Add", &[&nothing, &first]);
    for line in 0..n_lines {
        let [start, slope, rise] =
            [0, 1, 2].map(|i| graph.floats(&shape, curves.iter().map(|curve| curve.line(line)[i])));
        let part = graph.op("Sub", &[&z, &start]);
        let part = graph.op("Mul", &[&part, &slope]);
        let part = graph.op("Max", &[&part, &zero]);
        let part = graph.op("Min", &[&part, &one]);
        let part = graph.op("Mul", &[&part, &rise]);
        sum = graph.op("Add", &[&sum, &part]);
    }
    sum
}
