//! Raw tables of every format, written in ways that people write them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use contract::manifest::{Data, View};
use datafusion::arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int8Type, Schema};
use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::logical_expr::col;
use datafusion::parquet::arrow::ArrowWriter;
use raw_tables::RawTable;
use serde_json::{Value, json};

use super::RawTables;
use crate::engine::Engine;
use crate::session;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn create(&self, file: &str) -> File {
        self.write(file, "");
        File::create(self.0.path().join(file)).unwrap()
    }

    fn parquet(&self, file: &str, columns: Vec<(&str, ArrayRef)>) -> &Self {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(self.create(file), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        self
    }

    /// The rows of a table as text, `null` where there is none, in order; or what is wrong.
    fn rows(&self, table: Value) -> Result<Vec<String>, String> {
        let table = match table {
            Value::String(path) => json!(self.path(&path)),
            Value::Object(mut options) => {
                options["path"] = json!(self.path(options["path"].as_str().unwrap()));
                Value::Object(options)
            }
            other => other,
        };
        let data: Data = serde_json::from_value(json!({
            "tables": {"t": table}, "users": {"table": "t"}, "interactions": {"table": "t"},
            "brands": {"table": "t"}, "features": ["x"],
        }))
        .unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime
            .block_on(rows(&data, self.0.path()))
            .map_err(|err| format!("{err:#}").replace(&self.0.path().display().to_string(), "DIR"))
    }
}

/// The rows as a query sees them, which must be those that readers without DataFusion get.
async fn rows(data: &Data, scratch: &Path) -> anyhow::Result<Vec<String>> {
    let View::Table(_) = &data.users else { unreachable!("written above") };
    let table = RawTable::open("t", &data.tables["t"].options())?;
    let names: Vec<&str> = table.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let plain = table.rows(&names).collect::<anyhow::Result<Vec<_>>>();
    let mut plain = plain.map(|batches| texts_of(&batches));

    let raw = RawTables::open(
        session::for_views(data, scratch, &Engine::Local)?,
        &Engine::Local,
        data,
        &data.users,
    )?;
    let frame = raw.view(&data.users).await?;
    let order = frame.schema().columns().into_iter().map(|c| col(c).sort(true, true)).collect();
    let queried = raw.collect(frame.sort(order)?, "t").await.map(|batches| texts_of(&batches));
    match (&mut plain, &queried) {
        (Ok(plain), Ok(queried)) => {
            let mut sorted = queried.clone();
            plain.sort();
            sorted.sort();
            assert_eq!(*plain, sorted);
        }
        (Err(plain), Err(queried)) => assert_eq!(format!("{plain:#}"), format!("{queried:#}")),
        _ => panic!("{plain:?} is not {queried:?}"),
    }
    queried
}

fn texts_of(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| {
                if column.is_null(row) {
                    return "null".to_owned();
                }
                array_value_to_string(column, row).unwrap()
            };
            rows.push(batch.columns().iter().map(value).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

fn ints(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn texts(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

#[test]
fn files_of_a_folder_are_matched_by_the_names_of_their_columns() {
    let folder = Folder::new();
    folder
        .write("csv/2024.csv", "user_id,brand_id\n1,100\n")
        .write("csv/2025.csv", "brand_id,user_id\n200,2\n");
    assert_eq!(folder.rows(json!("csv")).unwrap(), ["1|100", "2|200"]);
    folder.parquet(
        "parquet/a.parquet",
        vec![("user_id", ints(vec![1])), ("brand_id", texts(vec!["a"]))],
    );
    let categories: DictionaryArray<Int8Type> = vec!["b"].into_iter().collect();
    let narrow = Arc::new(Int32Array::from(vec![2]));
    folder.parquet(
        "parquet/b.parquet",
        vec![("brand_id", Arc::new(categories)), ("user_id", narrow)],
    );
    assert_eq!(folder.rows(json!("parquet")).unwrap(), ["1|a", "2|b"]);
    let arrow = |file: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = FileWriter::try_new(folder.create(file), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    };
    arrow("arrow/a.arrow", vec![("user_id", ints(vec![1])), ("brand_id", texts(vec!["a"]))]);
    arrow("arrow/b.feather", vec![("brand_id", texts(vec!["b"])), ("user_id", ints(vec![2]))]);
    assert_eq!(folder.rows(json!("arrow")).unwrap(), ["1|a", "2|b"]);
    folder
        .write("json/a.json", "{\"user_id\": 1}\n")
        .write("json/b.json", "{\"brand_id\": 5, \"user_id\": 2}\n");
    assert_eq!(
        folder.rows(json!("json")).unwrap(),
        ["1|null", "2|5"],
        "an object names what it has"
    );
}

#[test]
fn a_file_that_does_not_fit_is_named() {
    let good = "user_id,brand_id\n1,100\n";
    let cases = [
        (
            "1,200\n2,200\n",
            "b.csv: its columns are `1`, `200`, those of DIR/log/a.csv are `user_id`, `brand_id`",
        ),
        ("UserId,BrandId\n2,200\n", "b.csv: its columns are `UserId`, `BrandId`"),
        (
            "user_id,brand_id,events\n2,200,1\n",
            "b.csv: its columns are `user_id`, `brand_id`, `events`",
        ),
        ("user_id,user_id\n2,200\n", "b.csv: column `user_id` appears twice"),
        (
            "user_id,brand_id\n2,200,1\n",
            "b.csv: Encountered unequal lengths between records on CSV file. Expected 2 records, found 3 records at line 2",
        ),
        ("user_id,brand_id\n2,\"200\n3,300\n", "b.csv: line 2: a quote is never closed"),
        (
            "user_id,brand_id\n2,\"5in\n3,x\n4,\"5in\n",
            "b.csv: line 4: text follows a closing quote, opened in line 2",
        ),
        (
            "user_id;brand_id\n2;200\n",
            "b.csv: its first line is the single name `user_id;brand_id`; if `;` separates",
        ),
        ("", "b.csv: is empty (0 bytes)"),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "b.csv: is a pointer of Git LFS",
        ),
    ];
    for (second, expected) in cases {
        let folder = Folder::new();
        let message = folder
            .write("log/a.csv", good)
            .write("log/b.csv", second)
            .rows(json!("log"))
            .unwrap_err();
        assert!(message.contains(expected) && message.starts_with("table `t`: "), "{message}");
        assert_eq!(message.matches("b.csv").count(), 1, "{message}");
    }
    // A day without a row is no fault.
    let folder = Folder::new();
    folder.write("log/a.csv", good).write("log/b.csv", "brand_id,user_id\n");
    assert_eq!(folder.rows(json!("log")).unwrap(), ["1|100"]);
    // Nor is a name over several lines.
    folder.write("b.csv", "id,name\n1,\"two\nlines\"\n");
    assert_eq!(folder.rows(json!("b.csv")).unwrap(), ["1|two\nlines"]);

    folder.parquet("p/a.parquet", vec![("user_id", ints(vec![1]))]);
    folder.parquet("p/b.parquet", vec![("user", ints(vec![1]))]);
    let message = folder.rows(json!("p")).unwrap_err();
    assert!(message.contains("p/b.parquet: its columns are `user`"), "{message}");
    folder.parquet("p/b.parquet", vec![("user_id", texts(vec!["1"]))]);
    let message = folder.rows(json!("p")).unwrap_err();
    assert!(
        message.contains(
            "column `user_id` is `Utf8` in DIR/p/b.parquet, and `Int64` in files before it"
        ),
        "{message}"
    );
}

#[test]
fn damaged_files_are_named_once() {
    let folder = Folder::new();
    let texts = (0..1000).map(|i| format!("text {i}")).collect::<Vec<_>>();
    folder.parquet("p/a.parquet", vec![("user_id", ints(vec![1]))]);
    folder
        .parquet("p/b.parquet", vec![("user_id", Arc::new(StringArray::from(texts)) as ArrayRef)]);
    let path = folder.path("p/b.parquet");
    let whole = fs::read(&path).unwrap();
    let message = |bytes: &[u8], file: &str| {
        fs::write(&path, bytes).unwrap();
        let message = folder.rows(json!(file)).unwrap_err();
        assert!(message.contains("is not a whole parquet file"), "{message}");
        assert!(!message.contains("Parquet error"), "{message}");
        assert_eq!(message.matches("b.parquet").count(), 1, "{message}");
    };
    message(&whole[..whole.len() - 100], "p");
    message(b"version one of something else", "p/b.parquet");
    let mut damaged = whole.clone();
    damaged[4..200].fill(0xff); // its pages: found only when they are read
    message(&damaged, "p/b.parquet");

    folder.write("x.arrow", "ARROW1 and then nothing of the kind");
    let message = folder.rows(json!("x.arrow")).unwrap_err();
    assert!(message.starts_with("table `t`: DIR/x.arrow: "), "{message}");
    folder.write("x.json", "{\"user_id\": 1}\n{\"user_id\": \n");
    let message = folder.rows(json!("x.json")).unwrap_err();
    assert!(message.contains("x.json: row 2: EOF"), "{message}");
    folder.write("x.json", "{\"user_id\": 1}\n7\n");
    let message = folder.rows(json!("x.json")).unwrap_err();
    assert!(message.contains("x.json: row 2: is not an object"), "{message}");
}

fn lines(range: std::ops::Range<u32>, line: impl Fn(u32) -> String) -> String {
    range.map(line).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn types_of_csv_and_json_come_from_all_rows() {
    let folder = Folder::new();
    let numbers = lines(0..1100, |i| format!("{i},{i}"));
    folder.write("late.csv", format!("user_id,x\n{numbers}A17,1500.5\n"));
    let rows = folder.rows(json!("late.csv")).unwrap();
    assert_eq!(rows.len(), 1101);
    assert_eq!(rows.last().unwrap(), "A17|1500.5");
    // Nor do the files of a folder settle each other's types.
    folder
        .write("log/a.csv", "x\n1\n")
        .write("log/b.csv", "x\n1.5\n")
        .write("log/c.csv", "x\nabc\n");
    assert_eq!(folder.rows(json!("log/[ab].csv")).unwrap(), ["1.0", "1.5"]);
    assert_eq!(folder.rows(json!("log")).unwrap(), ["1", "1.5", "abc"]);
    let objects = lines(0..1000, |i| format!("{{\"user_id\": {i}}}"));
    folder.write("late.json", format!("{objects}{{\"user_id\": 1000, \"events\": 50}}\n"));
    assert_eq!(folder.rows(json!("late.json")).unwrap()[1000], "1000|50");
    folder.write("mixed.json", "{\"user_id\": 7}\n{\"user_id\": \"A\"}\n");
    assert_eq!(folder.rows(json!("mixed.json")).unwrap(), ["7", "A"]);
}

#[test]
fn a_number_with_a_leading_zero_makes_its_column_text() {
    let folder = Folder::new();
    folder.write("a.csv", "user_id,name,price\n\"09971\",7,0.5\n12,0,1\n");
    assert_eq!(folder.rows(json!("a.csv")).unwrap(), ["09971|7|0.5", "12|0|1.0"]);
    folder.write("log/a.csv", "name\n007\n").write("log/b.csv", "name\n7\n");
    assert_eq!(folder.rows(json!("log")).unwrap(), ["007", "7"], "in one file of several, too");
}

#[test]
fn numbers_beyond_signed_64_bits_keep_all_digits() {
    let folder = Folder::new();
    folder.write("a.csv", "user_id\n18446744073709551615\n1\n");
    folder.write("a.json", "{\"user_id\": 18446744073709551615}\n{\"user_id\": 1}\n");
    for file in ["a.csv", "a.json"] {
        assert_eq!(folder.rows(json!(file)).unwrap(), ["1", "18446744073709551615"], "{file}");
    }
}

#[test]
fn whole_numbers_beyond_64_bits_are_text() {
    let folder = Folder::new();
    let large = "10000000000000000000000007";
    folder.write("a.csv", format!("user_id\n{large}\n-1\n"));
    folder.write("a.json", format!("{{\"user_id\": {large}}}\n{{\"user_id\": -1}}\n"));
    for file in ["a.csv", "a.json"] {
        assert_eq!(folder.rows(json!(file)).unwrap(), ["-1", large], "{file}");
    }
}

#[test]
fn a_column_that_appears_twice_is_refused() {
    let folder = Folder::new();
    let batch = || {
        let field = |name| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![field("user_id"), field("user_id")]));
        RecordBatch::try_new(schema, vec![ints(vec![1]), ints(vec![2])]).unwrap()
    };
    let mut writer = FileWriter::try_new(folder.create("a.arrow"), &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    let mut writer =
        ArrowWriter::try_new(folder.create("a.parquet"), batch().schema(), None).unwrap();
    writer.write(&batch()).unwrap();
    writer.close().unwrap();
    for file in ["a.arrow", "a.parquet"] {
        let message = folder.rows(json!(file)).unwrap_err();
        assert!(message.contains("column `user_id` appears twice"), "{message}");
    }
}

#[test]
fn fractions_are_never_read_as_whole_numbers() {
    let folder = Folder::new();
    folder.parquet("a.parquet", vec![("x", Arc::new(Float64Array::from(vec![2.5])) as ArrayRef)]);
    folder.write("a.json", "{\"x\": 2.5}\n");
    for file in ["a.parquet", "a.json"] {
        let message = folder.rows(json!({"path": file, "types": {"x": "int"}})).unwrap_err();
        assert!(message.contains("column `x` is `Float64`, and `types` wants whole"), "{message}");
    }
}

#[test]
fn types_of_the_manifest_take_precedence() {
    let folder = Folder::new();
    folder.write("a.csv", "user_id,day\n7,2024-07-01\n");
    let types = json!({"path": "a.csv", "types": {"user_id": "text", "day": "timestamp"}});
    assert_eq!(folder.rows(types).unwrap(), ["7|2024-07-01T00:00:00"]);
    let types = json!({"path": "a.csv", "types": {"day": "int"}});
    let message = folder.rows(types).unwrap_err();
    assert!(
        message.contains("a.csv: row 1: column `day`: found `2024-07-01`, expected `Int64`"),
        "{message}"
    );
    let types = json!({"path": "a.csv", "types": {"user": "int"}});
    let message = folder.rows(types).unwrap_err();
    assert!(
        message.contains("`types` names the column `user`; there are `user_id`, `day`"),
        "{message}"
    );
    folder.write("a.json", "{\"user_id\": 7}\n");
    assert_eq!(
        folder.rows(json!({"path": "a.json", "types": {"user_id": "text"}})).unwrap(),
        ["7"]
    );
    folder.parquet("a.parquet", vec![("user_id", ints(vec![7]))]);
    let types = json!({"path": "a.parquet", "types": {"user_id": "float"}});
    assert_eq!(folder.rows(types).unwrap(), ["7.0"]);
}

#[test]
fn compressed_files_and_other_variants_are_read() {
    let folder = Folder::new();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (csv, array) =
        ("user_id,x\n1,2\n", "[{\"user_id\": 1, \"x\": 2},\n {\"user_id\": 3, \"x\": 4}]");
    folder.write("a.csv.gz", gzip(csv));
    folder.write("b.csv.gz", [gzip("user_id,x\n1,2\n"), gzip("3,4\n")].concat()); // as `cat` joins them
    folder.write("c.csv.zst", zstd::encode_all(csv.as_bytes(), 1).unwrap());
    folder.write("d.tsv", "user_id\tx\n1\t2\n");
    folder.write("e.json", array);
    folder.write("f.json.gz", gzip(array));
    folder.write("g.csv", format!("\u{feff}{csv}"));
    folder.write("h.json", format!("\u{feff}{array}"));
    folder.write("i.csv", "user_id;x\n1;2\n");
    for (file, n) in [
        ("a.csv.gz", 1),
        ("b.csv.gz", 2),
        ("c.csv.zst", 1),
        ("d.tsv", 1),
        ("e.json", 2),
        ("f.json.gz", 2),
        ("g.csv", 1),
        ("h.json", 2),
    ] {
        assert_eq!(folder.rows(json!(file)).unwrap(), ["1|2", "3|4"][..n], "{file}");
    }
    assert_eq!(folder.rows(json!({"path": "i.csv", "delimiter": ";"})).unwrap(), ["1|2"]);
    let batch = RecordBatch::try_from_iter([("user_id", ints(vec![1]))]).unwrap();
    let mut writer = StreamWriter::try_new(folder.create("j.arrow"), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(folder.rows(json!("j.arrow")).unwrap(), ["1"], "a stream");
    let message = folder.write("k.csv.gz", &gzip(csv)[..15]).rows(json!("k.csv.gz")).unwrap_err();
    assert!(message.starts_with("table `t`: DIR/k.csv.gz: "), "{message}");
}

#[test]
fn keys_of_folders_are_columns() {
    let folder = Folder::new();
    folder.write("csv/brand_id=100/dt=2024-07-01/x.csv", "user_id\n1\n");
    folder.write("csv/brand_id=200/dt=__HIVE_DEFAULT_PARTITION__/x.csv", "user_id\n2\n");
    assert_eq!(folder.rows(json!("csv")).unwrap(), ["1|100|2024-07-01", "2|200|null"]);
    assert_eq!(folder.rows(json!("csv/*/*/*.csv")).unwrap().len(), 2);
    let types = json!({"path": "csv", "types": {"brand_id": "text"}});
    assert_eq!(folder.rows(types).unwrap().len(), 2);
    folder.parquet("p/shop=007/x.parquet", vec![("user_id", ints(vec![1]))]);
    folder.parquet("p/shop=8/y.parquet", vec![("user_id", ints(vec![2]))]);
    assert_eq!(folder.rows(json!("p")).unwrap(), ["1|007", "2|8"]);
    // What the file itself says comes first.
    folder.parquet("q/user_id=5/x.parquet", vec![("user_id", ints(vec![1]))]);
    assert_eq!(folder.rows(json!("q")).unwrap(), ["1"]);
}

#[test]
fn a_folder_named_with_pattern_characters_is_read() {
    let folder = Folder::new();
    folder.parquet("a[1] 100%/x#?.parquet", vec![("user_id", ints(vec![1]))]);
    folder.write("b[*]/x.csv", "user_id\n1\n");
    assert!(Path::new(&folder.path("a[1] 100%")).is_dir());
    assert_eq!(folder.rows(json!("a[1] 100%")).unwrap(), ["1"]);
    assert_eq!(folder.rows(json!("b[*]/x.csv")).unwrap(), ["1"]);
}
