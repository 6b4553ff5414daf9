//! The functions that every process must know: `draw`, with the arithmetic of sample-stage, and
//! `predict`, which stands for the scoring of a model.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, AsArray, Float32Builder, Float64Array, ListBuilder, StructBuilder, UInt32Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float32Type};
use datafusion::common::cast::as_int64_array;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Length of a user's features.
pub const DIM: usize = 32;

/// Brands that `predict` scores, and those it returns.
const N_SCORED: u32 = 64;
const N_PREDICTED: usize = 3;

/// The functions, to be registered in the coordinator and in every worker.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    vec![
        Arc::new(ScalarUDF::from(Draw { signature: signature() })),
        Arc::new(ScalarUDF::from(Predict { signature: signature() })),
    ]
}

/// splitmix64 as a function of its state.
pub fn hash(key: u64) -> u64 {
    let state = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut random = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^ (random >> 31)
}

/// Uniform on [0, 1).
pub fn uniform(key: i64, seed: i64, draw: i64) -> f64 {
    let bits = hash(hash(hash(seed as u64) ^ key as u64) ^ draw as u64);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Draw {
    signature: Signature,
}

impl ScalarUDFImpl for Draw {
    fn name(&self) -> &'static str {
        "draw"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() != 3 {
            return plan_err!("draw takes (user_id, seed, draw), got {} arguments", given.len());
        }
        Ok(vec![DataType::Int64; 3])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (keys, seeds) = (as_int64_array(&arrays[0])?, as_int64_array(&arrays[1])?);
        let draws = as_int64_array(&arrays[2])?;
        let drawn: Float64Array = (0..keys.len())
            .map(|i| {
                let is_known = keys.is_valid(i) && seeds.is_valid(i) && draws.is_valid(i);
                is_known.then(|| uniform(keys.value(i), seeds.value(i), draws.value(i)))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(drawn)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Predict {
    signature: Signature,
}

fn prediction() -> Fields {
    Fields::from(vec![
        Field::new("brand_idx", DataType::UInt32, false),
        Field::new("prob", DataType::Float32, false),
    ])
}

impl ScalarUDFImpl for Predict {
    fn name(&self) -> &'static str {
        "predict"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Struct(prediction()), true))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [DataType::FixedSizeList(_, len)] if *len as usize == DIM => Ok(given.to_vec()),
            _ => plan_err!("predict takes a list of {DIM} features, got {given:?}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = arrays[0].as_fixed_size_list();
        let features = rows.values().as_primitive::<Float32Type>().values();
        let fields = prediction();
        let item = Field::new_list_field(DataType::Struct(fields.clone()), true);
        let mut lists =
            ListBuilder::new(StructBuilder::from_fields(fields, rows.len() * N_PREDICTED))
                .with_field(item);
        for i in 0..rows.len() {
            let start = rows.value_offset(i) as usize;
            let row = lists.values();
            for (brand, prob) in best(&features[start..start + DIM]) {
                row.field_builder::<UInt32Builder>(0).expect("its field").append_value(brand);
                row.field_builder::<Float32Builder>(1).expect("its field").append_value(prob);
                row.append(true);
            }
            lists.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// The brands with the highest probabilities, by weights that depend on brand and feature alone.
fn best(features: &[f32]) -> Vec<(u32, f32)> {
    let mut scored: Vec<_> = (0..N_SCORED)
        .map(|brand| {
            let logit: f32 = features
                .iter()
                .enumerate()
                .map(|(i, feature)| feature * (((brand * 37 + i as u32 * 11) % 17) as f32 - 8.0))
                .sum();
            (brand, 1.0 / (1.0 + (-logit / 8.0).exp()))
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(N_PREDICTED);
    scored
}
