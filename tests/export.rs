//! `pipeline export`: files of models for other programs. What the graphs compute is compared in
//! `bench/score/export.py`, by runtimes that are not ours.

mod workspace;

use std::fs;

use arrow::array::AsArray as _;
use arrow::datatypes::Float32Type;
use contract::ipc;
use contract::tables::{MODEL, THRESHOLDS};
use serde_json::Value;
use workspace::Workspace;

fn scored(experiments: &[&str]) -> Workspace {
    let work = Workspace::tiny();
    let run = work.pipeline(&[&["run"], experiments].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    work
}

/// Header and data of a safetensors file.
fn tensors(bytes: &[u8]) -> (Value, &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), data)
}

fn values<'a>(header: &Value, data: &'a [u8], name: &str) -> &'a [u8] {
    let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    &data[at(0)..at(1)]
}

#[test]
fn safetensors_hold_a_models_arrays_and_its_thresholds() {
    let work = scored(&["bau_expected_f1"]);
    let args =
        ["export", "bau_expected_f1", "--format", "safetensors", "--output", "m.safetensors"];
    let said = work.pipeline(&args);
    assert_eq!((said.code, said.stdout.as_str()), (0, "m.safetensors\n"), "{}", said.stderr);
    let bytes = work.bytes("m.safetensors");
    let (header, data) = tensors(&bytes);
    assert_eq!((bytes.len() - data.len()) % 8, 0, "arrays are aligned");
    let folder = work.dir.join("runs/bau_expected_f1");
    let model = ipc::read(&folder.join("train/model.arrow"), &MODEL).unwrap();
    let names = model.whole_column("name").unwrap();
    let arrays = model.whole_column("data").unwrap();
    for (i, name) in names.as_string::<i32>().iter().flatten().enumerate() {
        let array = arrays.as_list::<i32>().value(i);
        let expected = array.as_primitive::<Float32Type>().values();
        let expected: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(values(&header, data, name), expected, "{name}");
        assert_eq!(header[name]["dtype"], "F32");
    }
    let thresholds = ipc::read(&folder.join("score/thresholds.arrow"), &THRESHOLDS).unwrap();
    let slopes = contract::columns::f64s(&thresholds.batches[0], "slope");
    let expected: Vec<u8> = slopes.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(values(&header, data, "thresholds.slope"), expected);
    let architecture = header["__metadata__"]["architecture"].as_str().unwrap();
    assert!(architecture.contains("\"brand_ids\""), "{architecture}");
    // All bytes belong to an array.
    let arrays = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let n_bytes: usize = arrays.map(|(name, _)| values(&header, data, name).len()).sum();
    assert_eq!(n_bytes, data.len());
}

/// Version 8 of the format comes first, then the name of the program; inputs and outputs have their names.
#[test]
fn onnx_files_say_what_they_read_and_give() {
    let work = scored(&["bau", "persistence"]);
    assert_eq!(work.pipeline(&["bundle", "bau", "--output", "bundle"]).code, 0);
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for (model, inputs) in [
        (&["bau"][..], &["embedding", "age"][..]),
        (&["--bundle", "bundle"], &["embedding", "age"]),
        (&["persistence"], &["past", "ScatterElements"]),
    ] {
        let args = [&["export"], model, &["--format", "onnx", "--output", "m.onnx"]].concat();
        let said = work.pipeline(&args);
        assert_eq!(said.code, 0, "{model:?}: {}", said.stderr);
        let bytes = work.bytes("m.onnx");
        assert!(bytes.starts_with(b"\x08\x08\x12\x0btrain-stage"), "{:?}", &bytes[..20]);
        for name in inputs.iter().chain(&["probs", "predicted", "brand_ids", "mill & sons"]) {
            assert!(has(&bytes, name), "{model:?}: {name}");
        }
        let again = work.pipeline(&args);
        assert!(again.code == 0 && work.bytes("m.onnx") == bytes, "the same bytes");
    }
    // A policy that looks at a user's other brands gives no decisions.
    let set = ["--set", "score.decision={policy: gain}", "--set", "score.calibration=platt"];
    assert_eq!(work.pipeline(&[&["run", "bau"], &set[..]].concat()).code, 0);
    let args = ["export", "bau", "--format", "onnx", "--output", "m.onnx"];
    let said = work.pipeline(&[&args[..], &set].concat());
    assert!(said.code == 0 && said.stderr.contains("no decisions"), "{}", said.stderr);
    assert!(!has(&work.bytes("m.onnx"), "predicted"));
}

#[test]
fn what_cannot_be_exported_is_said_with_what_to_do() {
    let work = scored(&["bau"]);
    let refused = |args: &[&str], code: i32, part: &str| {
        let said = work.pipeline(&[&["export"], args].concat());
        assert_eq!(said.code, code, "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    };
    let onnx = ["--format", "onnx", "--output", "m.onnx"];
    refused(&[&["popularity"][..], &onnx].concat(), 5, "hint: run `pipeline run popularity`");
    refused(&[&["ba"][..], &onnx].concat(), 2, "no experiment `ba`");
    refused(&onnx, 2, "name one experiment, or a `--bundle`");
    refused(&["bau", "--format", "mlflow", "--output", "x"], 2, "`mlflow` to a server, `--to`");
    refused(&["--format", "mlflow", "--to", "https://tracking"], 2, "https is not supported");
    let retrained = work.run("train-stage", &["--experiment", "bau", "--set", "train.epochs=2"]);
    assert_eq!(retrained.code, 0, "{}", retrained.stderr);
    refused(&[&["bau"][..], &onnx].concat(), 5, "fitted for another model than");

    let memory = ["--set", "score.memory={weight: 0.3}"];
    assert_eq!(work.pipeline(&[&["run", "bau"], &memory[..]].concat()).code, 0);
    let args = [&["bau"][..], &onnx, &memory].concat();
    refused(&args, 5, "a graph cannot hold their search");
    assert!(!work.dir.join("m.onnx").exists());
    let args = ["bau", "--format", "safetensors", "--output", "m.safetensors"];
    let said = work.pipeline(&[&["export"], &args[..], &memory].concat());
    assert!(said.code == 0 && said.stderr.contains("`memory.arrow`"), "{}", said.stderr);
    fs::remove_file(work.dir.join("runs/bau/train/stage.json")).unwrap();
    let said = work.pipeline(&[&["export"], &args[..], &memory].concat());
    assert!(said.stderr.contains("cannot be verified"), "{}", said.stderr);
}
