//! `score-stage predict` on files that users make: it accepts what training accepts, refuses what
//! training refuses, and never panics.

mod workspace;

use std::fs::{self, File};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float32Array,
    Float64Array, Int32Array, Int64Array, LargeListArray, LargeStringArray, ListArray, RecordBatch,
    StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use contract::ipc::{self, Table};
use contract::tables::{MODEL, PREDICTIONS};
use workspace::{Said, Workspace};

/// The tiny data set with the experiments whose models read vectors and numbers (`bau`) and a list
/// of brands (`persistence`).
fn scored() -> Workspace {
    let work = Workspace::tiny();
    let run = work.pipeline(&["run", "bau", "persistence", "popularity"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    work
}

fn predict(work: &Workspace, experiment: &str, users: &str, more: &[&str]) -> Said {
    let model = format!("runs/{experiment}/train/model.arrow");
    let mut args = vec!["predict", "--model", &model, "--users", users, "--output", "out.arrow"];
    args.extend(more);
    work.run("score-stage", &args)
}

type Columns<'a> = Vec<(&'a str, ArrayRef)>;

fn batch(columns: Columns) -> RecordBatch {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

/// Writes users, all of one schema, as batches of an Arrow file.
fn write(work: &Workspace, batches: &[RecordBatch]) {
    let file = File::create(work.dir.join("users.arrow")).unwrap();
    let mut writer = FileWriter::try_new(file, &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
}

fn ids(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn vectors<const N: usize>(values: [Option<[Option<f32>; 2]>; N]) -> ArrayRef {
    let lists = values.map(|vector| vector.map(Vec::from));
    Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists))
}

fn ages<const N: usize>(values: [f32; N]) -> ArrayRef {
    Arc::new(Float32Array::from(values.to_vec()))
}

fn predictions(work: &Workspace) -> Table {
    ipc::read(&work.dir.join("out.arrow"), &PREDICTIONS).unwrap()
}

fn probs(table: &Table) -> Vec<f32> {
    let lists = table.batches.iter().flat_map(|batch| {
        contract::columns::f32_lists(batch, "top_probs")
            .iter()
            .map(<[f32]>::to_vec)
            .collect::<Vec<_>>()
    });
    lists.flatten().collect()
}

/// Wrong columns of three users, and parts of the message.
#[test]
fn predict_refuses_what_training_refuses() {
    let work = scored();
    let good_ids = || ids(&["a", "b", "c"]);
    let good = [Some([Some(1.0), Some(2.0)]); 3];
    let second = |vector| vectors([good[0], vector, good[2]]);
    let good_ages = || ages([20.0, 30.0, 40.0]);
    let longer = ListArray::from_iter_primitive::<Float32Type, _, _>(
        [2, 3, 2].map(|n| Some(vec![Some(1.0); n])),
    );
    let fixed_nan = Float32Array::from(vec![1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0]);
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let fixed_nan = FixedSizeListArray::new(item, 2, Arc::new(fixed_nan), None);
    let with =
        |ids, embedding, age| batch(vec![("user_id", ids), ("embedding", embedding), ("age", age)]);
    let cases: Vec<(RecordBatch, &[&str])> = vec![
        (
            with(good_ids(), second(Some([Some(f32::NAN), Some(1.0)])), good_ages()),
            &["`embedding`", "`b`", "NaN, expected finite"],
        ),
        (
            with(good_ids(), second(Some([Some(1.0), Some(f32::INFINITY)])), good_ages()),
            &["`embedding`", "`b`", "inf, expected finite"],
        ),
        (
            with(good_ids(), second(Some([Some(1.0), None])), good_ages()),
            &["`embedding`", "`b`", "null, expected finite"],
        ),
        (
            with(good_ids(), second(None), good_ages()),
            &["`embedding`", "`b`", "null, expected a value"],
        ),
        (
            with(good_ids(), Arc::new(longer), good_ages()),
            &["`embedding`", "`b`", "a vector of 3, expected 2 as the model has it"],
        ),
        (with(good_ids(), Arc::new(fixed_nan), good_ages()), &["`embedding`", "`b`", "NaN"]),
        (
            with(good_ids(), vectors(good), ages([1.0, 2.0, f32::NEG_INFINITY])),
            &["`age`", "`c`", "-inf"],
        ),
        (with(ids(&["a", "b", "a"]), vectors(good), good_ages()), &["`user_id` `a` appears twice"]),
        (
            with(
                Arc::new(Int64Array::from(vec![Some(1), None, Some(2)])),
                vectors(good),
                good_ages(),
            ),
            &["`user_id` holds 1 null, expected none"],
        ),
        (
            with(Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])), vectors(good), good_ages()),
            &[
                "`user_id` is `Float64`, expected whole numbers or text; write `cast(user_id as bigint)`\n",
            ],
        ),
        (
            batch(vec![("user_id", good_ids()), ("age", good_ages())]),
            &[
                "`embedding` is missing",
                "a vector of 2",
                "the columns are `user_id` (Utf8), `age` (Float32)",
            ],
        ),
        (
            with(good_ids(), good_ids(), good_ages()),
            &["`embedding` is `Utf8`, expected a vector of 2"],
        ),
        (with(good_ids(), vectors(good), good_ids()), &["`age` is `Utf8`, expected a number"]),
        (
            batch(vec![("embedding", vectors(good)), ("age", good_ages())]),
            &["`user_id` is missing; found `embedding`, `age`"],
        ),
    ];
    for (users, parts) in cases {
        write(&work, &[users]);
        let run = predict(&work, "bau", "users.arrow", &[]);
        assert_eq!(run.code, 5, "{parts:?}: {}", run.stderr);
        for part in parts.iter().chain(&["users.arrow: users: "]) {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("make pipeline"), "{}", run.stderr);
        assert!(!work.dir.join("out.arrow").exists(), "{parts:?}");
    }
}

/// Every type of each column gives the same predictions.
#[test]
fn predict_accepts_what_training_accepts() {
    let work = scored();
    let plain = batch(vec![
        ("user_id", ids(&["1", "2"])),
        ("embedding", vectors([Some([Some(-1.0), Some(0.0)]), Some([Some(1.0), Some(0.0)])])),
        ("age", ages([20.0, 30.0])),
    ]);
    write(&work, std::slice::from_ref(&plain));
    let run = predict(&work, "bau", "users.arrow", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = probs(&predictions(&work));
    let user_ids: Vec<ArrayRef> = vec![
        Arc::new(LargeStringArray::from(vec!["1", "2"])),
        Arc::new(["1", "2"].into_iter().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(UInt64Array::from(vec![1, u64::MAX])),
    ];
    let pairs = || [[-1, 0], [1, 0]].map(|pair| Some(pair.map(Some).to_vec()));
    let doubles = || {
        pairs().map(|pair| {
            pair.map(|pair| pair.into_iter().map(|x| x.map(f64::from)).collect::<Vec<_>>())
        })
    };
    let embeddings: Vec<ArrayRef> = vec![
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(doubles())),
        Arc::new(LargeListArray::from_iter_primitive::<Float64Type, _, _>(doubles())),
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(doubles(), 2)),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(pairs().map(|pair| {
            pair.map(|pair| pair.into_iter().map(|x| x.map(i64::from)).collect::<Vec<_>>())
        }))),
    ];
    let numbers: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![20, 30])),
        Arc::new(Float64Array::from(vec![20.0, 30.0])),
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
            [20.0, 30.0].map(|age| Some(vec![Some(age)])),
        )),
        Arc::new(UInt64Array::from(vec![20, 30])),
    ];
    for ((id, embedding), age) in user_ids.into_iter().zip(embeddings).zip(numbers) {
        let shown = format!("{} {} {}", id.data_type(), embedding.data_type(), age.data_type());
        write(&work, &[batch(vec![("user_id", id), ("embedding", embedding), ("age", age)])]);
        let run = predict(&work, "bau", "users.arrow", &[]);
        assert_eq!(run.code, 0, "{shown}: {}", run.stderr);
        assert_eq!(probs(&predictions(&work)), expected, "{shown}");
    }

    // A stream, in two batches.
    let path = work.dir.join("users.arrow");
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &plain.schema()).unwrap();
    for row in 0..2 {
        writer.write(&plain.slice(row, 1)).unwrap();
    }
    writer.finish().unwrap();
    let run = predict(&work, "bau", "users.arrow", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(probs(&predictions(&work)), expected);

    // 2^64 - 1 in a later batch: ids of all batches are of one kind.
    let with_id = |id: u64, row: usize| {
        let mut columns = plain.slice(row, 1).columns().to_vec();
        columns[0] = Arc::new(UInt64Array::from(vec![id]));
        batch(["user_id", "embedding", "age"].into_iter().zip(columns).collect())
    };
    write(&work, &[with_id(1, 0), with_id(u64::MAX, 1)]);
    let run = predict(&work, "bau", "users.arrow", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let table = predictions(&work);
    let found = contract::ids::id_texts(&*table.whole_column("user_id").unwrap());
    assert_eq!(found, ["1", "18446744073709551615"]);
    assert_eq!(probs(&table), expected);
}

/// `persistence` predicts the brands of a user's history: a list of their ids, or of positions where
/// the metadata say so, as in `features.arrow`.
#[test]
fn a_history_of_brands_is_read_by_brand_id() {
    let work = scored();
    let with = |past: ArrayRef| {
        let n = past.len();
        let ids: Vec<String> = (0..n).map(|i| format!("new {i}")).collect();
        batch(vec![("user_id", Arc::new(StringArray::from(ids))), ("past", past)])
    };
    let lists = |lists: &[&[&str]]| -> ArrayRef {
        let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        for list in lists {
            list.iter().for_each(|brand| builder.values().append_value(brand));
            builder.append(true);
        }
        Arc::new(builder.finish())
    };
    let model = ipc::read(&work.dir.join("runs/persistence/train/model.arrow"), &MODEL).unwrap();
    let architecture: serde_json::Value =
        serde_json::from_str(model.metadata("architecture").unwrap()).unwrap();
    let brands: Vec<&str> = architecture["brand_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();

    write(&work, &[with(lists(&[&[brands[2]], &[], &["nobody's", brands[0]]]))]);
    let run = predict(&work, "persistence", "users.arrow", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let table = predictions(&work);
    let predicted = contract::columns::u32_lists(&table.batches[0], "predicted");
    assert_eq!(predicted.iter().collect::<Vec<_>>(), [&[2][..], &[], &[0]]);

    let refused = |past: ArrayRef, part: &str| {
        write(&work, &[with(past)]);
        let run = predict(&work, "persistence", "users.arrow", &[]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        assert!(run.stderr.contains(part), "{}", run.stderr);
    };
    // A few users may have unknown brands alone, but not many users.
    write(&work, &[with(lists(&[&["nobody's"], &["nothing"]]))]);
    let run = predict(&work, "persistence", "users.arrow", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let note = "column `past`: 2 ids of 2 are of no brand that is predicted, and left out";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    let many: Vec<String> = (0..20).map(|i| format!("nobody {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(lists(&[&many[..10], &many[10..]]), "none of its 20 brand ids is a brand of the model");
    refused(
        Arc::new(BooleanArray::from(vec![true])),
        "`past` is `Boolean`, expected a list of brand ids",
    );

    // Positions, one of them beyond the brands.
    let metadata = [("ids".to_owned(), "brands".to_owned())].into();
    let item = Arc::new(Field::new("item", DataType::UInt32, false));
    for (position, code) in [(1, 0), (4, 5)] {
        let mut positions = contract::columns::ListBuilder::<u32>::default();
        positions.push(&[position]);
        let fields = vec![
            Field::new("user_id", DataType::Utf8, false),
            Field::new("past", DataType::List(item.clone()), false)
                .with_metadata(std::collections::HashMap::clone(&metadata)),
        ];
        let columns = vec![ids(&["new"]), positions.finish()];
        write(&work, &[RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()]);
        let run = predict(&work, "persistence", "users.arrow", &[]);
        assert_eq!(run.code, code, "{}", run.stderr);
        if code == 5 {
            assert!(
                run.stderr.contains("user `new`: found brand 4, expected 0 to 3"),
                "{}",
                run.stderr
            );
        }
    }
}

#[test]
fn users_that_are_no_table_are_refused() {
    let work = scored();
    for (users, part) in [
        ("nowhere.arrow", "table `users`: nothing at `nowhere.arrow`"),
        ("runs/bau/log.txt", "cannot tell the format"),
        ("/dev/null", "neither a file nor a folder"),
    ] {
        work.write("runs/bau/log.txt", "no table");
        let run = predict(&work, "bau", users, &[]);
        assert!(run.code == 5 && run.stderr.contains(part), "{users}: {}", run.stderr);
    }
    work.write("users.csv", "user_id,age\n");
    let run = predict(&work, "popularity", "users.csv", &[]);
    assert!(run.code == 5 && run.stderr.contains("users: no rows found"), "{}", run.stderr);
}

/// A model trained without scoring has other probabilities than those that the thresholds were
/// fitted to; trained again to the same result, it has the same.
#[test]
fn thresholds_of_another_model_are_refused() {
    let work = scored();
    let test = "runs/holdout/test.arrow";
    let train = |set: &str| {
        let run = work.run("train-stage", &["--experiment", "bau", "--set", set]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    };
    train("train.epochs=2");
    let run = predict(&work, "bau", test, &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(
        run.stderr.contains("fitted for another model than runs/bau/train/model.arrow"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("hint: score the model first, with `pipeline run bau --stage score`"),
        "{}",
        run.stderr
    );
    let repair = work.pipeline(&["run", "bau", "--stage", "score", "--set", "train.epochs=2"]);
    assert_eq!(repair.code, 0, "{}", repair.stderr);
    assert_eq!(predict(&work, "bau", test, &[]).code, 0);
    let back = work.pipeline(&["run", "bau", "persistence"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    train("train.threads=1");
    let run = predict(&work, "bau", test, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run =
        predict(&work, "bau", test, &["--thresholds", "runs/persistence/score/thresholds.arrow"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    fs::remove_file(work.dir.join("runs/bau/score/thresholds.arrow")).unwrap();
    let run = predict(&work, "bau", test, &[]);
    assert!(run.code == 5 && run.stderr.contains("score it first"), "{}", run.stderr);
}

#[test]
fn an_output_that_is_a_device_an_input_or_a_folder_of_other_files_is_refused() {
    let work = scored();
    fs::create_dir(work.dir.join("folder")).unwrap();
    work.write("folder/notes.txt", "mine");
    fs::copy(work.dir.join("runs/holdout/test.arrow"), work.dir.join("users.arrow")).unwrap();
    let before = work.bytes("users.arrow");
    for (output, part) in [
        ("/dev/full", "/dev/full: is a device"),
        ("folder", "the folder holds `notes.txt`, which would be removed"),
        ("everyone", "there is a file of this name; name a folder"),
        ("p.xlsx", "expected a name that ends in .parquet, .csv or .arrow"),
        ("./users.arrow", "users.arrow, which is read"),
        ("runs/bau/train/model.arrow", "model.arrow, which is read"),
    ] {
        work.write("everyone", "mine");
        let model = "runs/bau/train/model.arrow";
        let args = ["predict", "--model", model, "--users", "users.arrow", "--output", output];
        let run = work.run("score-stage", &args);
        assert_eq!(run.code, 2, "{output}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{output}: {}", run.stderr);
    }
    assert!(before == work.bytes("users.arrow"));
    assert_eq!(work.bytes("folder/notes.txt"), b"mine");
}

/// Pseudorandom numbers, the same every time.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Flips, overwrites, cuts off or moves bytes.
fn mutate(bytes: &mut Vec<u8>, state: &mut u64) {
    let at = next(state) % bytes.len();
    match next(state) % 5 {
        0 => bytes[at] ^= 1 << (next(state) % 8),
        1 => bytes[at] = [0, 0x7f, 0x80, 0xff][next(state) % 4],
        2 => bytes.truncate(at),
        3 => {
            let n = (next(state) % 16 + 1).min(bytes.len() - at);
            bytes[at..at + n].fill([0, 0xff][next(state) % 2]);
        }
        _ => {
            let from = next(state) % bytes.len();
            let n = 8.min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + n, at);
        }
    }
}

/// A damaged file of the model is refused before it is decoded, a damaged file of users if it cannot be
/// read as what it still is.
#[test]
fn damaged_files_are_never_used_in_silence() {
    let work = scored();
    let path = |file: &str| work.dir.join(file);
    fs::copy(path("runs/holdout/test.arrow"), path("users.arrow")).unwrap();
    let (model, thresholds) = ("runs/bau/train/model.arrow", "runs/bau/score/thresholds.arrow");
    let mut state = 7;
    for file in [model, thresholds, "users.arrow"] {
        let whole = work.bytes(file);
        for round in 0..100 {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut state);
            if bytes == whole {
                continue;
            }
            fs::write(path(file), &bytes).unwrap();
            let _ = fs::remove_file(path("out.arrow"));
            let run = predict(&work, "bau", "users.arrow", &[]);
            let what = format!("{file}, {round}: {}", run.stderr);
            assert!(!run.stderr.contains("panicked"), "{what}");
            assert_eq!(path("out.arrow").exists(), run.code == 0, "{what}");
            if file == "users.arrow" {
                assert!([0, 5].contains(&run.code), "code {}: {what}", run.code);
            } else {
                assert_eq!(run.code, 5, "{what}");
                let changed = format!("{file}: its bytes are not those that were written");
                assert!(run.stderr.contains(&changed), "{what}");
                assert!(run.stderr.contains("hint: `pipeline run bau` makes it again"), "{what}");
            }
        }
        fs::write(path(file), whole).unwrap();
    }
}

/// Without a record nobody knows what the bytes should be: then predict says so, and a model whose
/// content changed is still not the one that thresholds were fitted for.
#[test]
fn files_without_a_record_are_used_with_a_warning() {
    let work = scored();
    let users = "runs/holdout/test.arrow";
    let with_record = predict(&work, "bau", users, &[]);
    assert!(!with_record.stderr.contains("cannot be verified"), "{}", with_record.stderr);
    let expected = work.bytes("out.arrow");
    for stage in ["train", "score"] {
        fs::remove_file(work.dir.join(format!("runs/bau/{stage}/stage.json"))).unwrap();
    }
    let run = predict(&work, "bau", users, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // The model, its thresholds and what drift is told by.
    assert_eq!(run.stderr.matches("its bytes cannot be verified").count(), 3, "{}", run.stderr);
    assert!(work.bytes("out.arrow") == expected);
    let file = "runs/bau/train/model.arrow";
    let whole = work.bytes(file);
    let mut n_used = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(work.dir.join(file), bytes).unwrap();
        if predict(&work, "bau", users, &[]).code == 0 {
            n_used += 1; // padding, or how the model came to be
            assert!(work.bytes("out.arrow") == expected, "byte {at}");
        }
    }
    assert!(n_used < whole.len() / 14, "{n_used}");
}

/// A model that names the same brands in another order is another model.
#[test]
fn brands_in_another_order_are_refused() {
    let work = scored();
    let path = work.dir.join("runs/bau/train/model.arrow");
    fs::remove_file(path.with_file_name("stage.json")).unwrap();
    let table = ipc::read(&path, &MODEL).unwrap();
    let mut metadata = table.schema.metadata().clone();
    let text = metadata.get_mut("architecture").unwrap();
    let mut architecture: serde_json::Value = serde_json::from_str(text).unwrap();
    architecture["brand_ids"].as_array_mut().unwrap().reverse();
    *text = architecture.to_string();
    let fields = table.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut writer = ipc::Writer::create(&path, &MODEL, fields, metadata).unwrap();
    writer.write(table.batches[0].columns().to_vec()).unwrap();
    writer.finish().unwrap().commit().unwrap();
    let run = predict(&work, "bau", "runs/holdout/test.arrow", &[]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("fitted for another model"), "{}", run.stderr);
}
