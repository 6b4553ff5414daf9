//! Runs an ONNX file with tract on one batch of users.
//!
//! `onnx-check MODEL.onnx INPUTS OUTPUT`: `INPUTS` is a folder with `NAME.f32` or `NAME.i64` for each input,
//! two sides as 64-bit numbers and then the values, all little-endian; the first output, the
//! probabilities, is written to `OUTPUT` as 32-bit numbers.

use std::path::Path;

use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, inputs, output] = &args[..] else { bail("onnx-check MODEL.onnx INPUTS OUTPUT")? };
    let mut model = tract_onnx::onnx().model_for_path(model)?;
    let mut values: TVec<TValue> = tvec!();
    for (place, outlet) in model.input_outlets()?.to_vec().into_iter().enumerate() {
        let name = model.node(outlet.node).name.clone();
        let value = read(Path::new(inputs), &name)?;
        let fact = InferenceFact::dt_shape(value.datum_type(), value.shape());
        model.set_input_fact(place, fact)?;
        values.push(value.into());
    }
    let probs = model.into_optimized()?.into_runnable()?.run(values)?;
    let probs = probs[0].to_plain_array_view::<f32>()?;
    let bytes: Vec<u8> = probs.iter().flat_map(|p| p.to_le_bytes()).collect();
    std::fs::write(output, bytes)?;
    Ok(())
}

fn read(folder: &Path, name: &str) -> TractResult<Tensor> {
    let floats = folder.join(format!("{name}.f32"));
    let is_floats = floats.exists();
    let path = if is_floats { floats } else { folder.join(format!("{name}.i64")) };
    let bytes = std::fs::read(path)?;
    let (sides, values) = bytes.split_at(16);
    let side = |at: usize| u64::from_le_bytes(sides[at..at + 8].try_into().unwrap()) as usize;
    let shape = [side(0), side(8)];
    Ok(if is_floats {
        let values = values.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Tensor::from_shape(&shape, &values.collect::<Vec<_>>())?
    } else {
        let values = values.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        Tensor::from_shape(&shape, &values.collect::<Vec<_>>())?
    })
}

fn bail<T>(what: &str) -> Result<T, std::io::Error> {
    Err(std::io::Error::other(what.to_owned()))
}
