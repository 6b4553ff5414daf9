//! Arrays by name: the length of a JSON header in eight bytes, the header, the arrays.
//!
//! The format is <https://huggingface.co/docs/safetensors>: small enough that a library would not be
//! shorter.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::{Float32Type, UInt32Type};
use contract::thresholds::BrandThreshold;
use serde_json::{Map, Value, json};

use super::Exported;

#[derive(Default)]
struct Tensors {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Tensors {
    fn push(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: impl Iterator<Item = u8>) {
        let start = self.data.len();
        self.data.extend(bytes);
        let offsets = [start, self.data.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        self.header.insert(name.to_owned(), entry);
    }

    fn f32s(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.push(name, "F32", shape, values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn f64s(&mut self, name: &str, values: &[f64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.push(name, "F64", &[values.len()], bytes);
    }

    fn i64s(&mut self, name: &str, values: &[i64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.push(name, "I64", &[values.len()], bytes);
    }
}

/// The bytes of a file.
pub fn encode(exported: &Exported) -> Vec<u8> {
    let mut tensors = Tensors::default();
    let (columns, metadata) = exported.model.to_columns();
    let names = columns[0].as_string::<i32>();
    let (shapes, data) = (columns[1].as_list::<i32>(), columns[2].as_list::<i32>());
    for (i, name) in names.iter().flatten().enumerate() {
        let shape = shapes.value(i);
        let shape: Vec<usize> =
            shape.as_primitive::<UInt32Type>().values().iter().map(|&side| side as usize).collect();
        let values = data.value(i);
        let values = values.as_primitive::<Float32Type>().values();
        if name.strip_prefix("bags.").is_some_and(|rest| rest.contains(".ids")) {
            // Whole numbers, which `model.arrow` keeps as floats.
            let ids: Vec<i64> = values.iter().map(|&id| id as i64).collect();
            tensors.i64s(name, &ids);
        } else {
            tensors.f32s(name, &shape, values);
        }
    }
    if let Some(brands) = &exported.brands {
        calibration(&mut tensors, brands);
    }
    let mut said: BTreeMap<String, String> = metadata.into_iter().collect();
    said.extend(exported.policy.iter().map(|policy| ("decision".to_owned(), policy.clone())));
    tensors.header.insert("__metadata__".to_owned(), json!(said));

    let mut header = Value::Object(tensors.header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' '); // arrays are aligned
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(tensors.data);
    bytes
}

/// The columns of `thresholds.arrow`. Knots of all brands follow one another; those of brand `b` are
/// `knot_offsets[b]..knot_offsets[b + 1]`.
fn calibration(tensors: &mut Tensors, brands: &[BrandThreshold]) {
    type Column = (&'static str, fn(&BrandThreshold) -> f64);
    let columns: [Column; 6] = [
        ("slope", |brand| brand.slope),
        ("intercept", |brand| brand.intercept),
        ("threshold", |brand| brand.threshold),
        ("history_slope", |brand| brand.history_slope),
        ("history_intercept", |brand| brand.history_intercept),
        ("memory_weight", |brand| brand.more.as_ref().map_or(0.0, |more| more.memory_weight)),
    ];
    for (name, value) in columns {
        let values: Vec<f64> = brands.iter().map(value).collect();
        tensors.f64s(&format!("thresholds.{name}"), &values);
    }
    let (mut offsets, mut logits, mut probs) = (vec![0], Vec::new(), Vec::new());
    for brand in brands {
        let more = brand.more.as_ref();
        logits.extend(more.iter().flat_map(|more| &more.knot_logits).copied());
        probs.extend(more.iter().flat_map(|more| &more.knot_probs).copied());
        offsets.push(logits.len() as i64);
    }
    tensors.i64s("thresholds.knot_offsets", &offsets);
    tensors.f32s("thresholds.knot_logits", &[logits.len()], &logits);
    tensors.f32s("thresholds.knot_probs", &[probs.len()], &probs);
}
