//! The files of a raw table, with their format and compression, and the keys that their folders
//! give.
//!
//! What cannot be read as a whole is an error here, before any row is read: a folder with files of
//! two formats, a table of Delta Lake, Iceberg or Hudi, an unknown compression.

mod in_store; // those in an object store

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};

use stores::listing::{is_hidden, is_pattern};
use stores::{Object, ObjectReader};

use crate::manifest::{TableFormat, TableOptions};

/// A raw table's files, sorted by path.
#[derive(Debug, Clone)]
pub struct RawFiles {
    /// Format of all of them
    pub format: TableFormat,
    /// The files; at least one
    pub files: Vec<RawFile>,
    /// Files beside them that are not read, as by their names they have another format or none
    pub passed_over: Vec<PathBuf>,
}

/// A file of a raw table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// Where it is; the URL of an object
    pub path: PathBuf,
    /// The object of a store, if it is one
    pub object: Option<Object>,
    /// How it is compressed
    pub compression: Option<Compression>,
    /// Keys and values of folders named `key=value` in its path, outermost first; no value for
    /// Hive's null
    pub keys: Vec<(String, Option<String>)>,
}

/// Bytes that are read, of a file or an object.
pub trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}

impl RawFile {
    /// A local file that is not compressed.
    pub fn local(path: &Path) -> Self {
        Self { path: path.to_path_buf(), object: None, compression: None, keys: Vec::new() }
    }

    /// Its bytes, as they are stored.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Bytes>> {
        Ok(match &self.object {
            None => Box::new(File::open(&self.path)?),
            Some(object) => Box::new(ObjectReader::open(object)?),
        })
    }
}

/// How a csv or json file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// Hive's folder name for a null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Formats to name in a message.
const FORMATS: &str = "parquet, csv, json or arrow";

/// Finds a raw table's files.
///
/// * `options.path`: a file, a folder, which is read with all its subfolders, or a pattern, also in a
///   store. Names that begin with `.` or `_` are skipped.
///
/// # Errors
///
/// What is wrong and how to fix it, without the table's name.
pub fn find(options: &TableOptions) -> Result<RawFiles, String> {
    let of_file_url = stores::local_path(&options.path).transpose()?;
    let table = of_file_url.as_deref().unwrap_or(&options.path);
    if stores::is_url(table) {
        return in_store::find(table, options);
    }
    let all = all_files(table)?;
    refuse_table_formats(&all)?;
    let all = all.into_iter().map(|path| (path, None)).collect();
    classified(all, options, |path| keys_of(table, path))
}

/// The files of one format.
///
/// * `all`: in order; with the object, if it is in a store.
/// * `keys_of`: keys of the folders of a file.
fn classified(
    all: Vec<(PathBuf, Option<Object>)>,
    options: &TableOptions,
    keys_of: impl Fn(&Path) -> Vec<(String, Option<String>)>,
) -> Result<RawFiles, String> {
    let endings: Vec<Ending> = all.iter().map(|(path, _)| Ending::of(path)).collect();
    let format = match options.format {
        Some(format) => format,
        None => one_format(&all, &endings)?,
    };
    let mut found = RawFiles { format, files: Vec::new(), passed_over: Vec::new() };
    for ((path, object), ending) in all.into_iter().zip(endings) {
        if let (Some(which), Some(TableFormat::Csv | TableFormat::Json) | None) =
            (ending.unknown_compression, ending.format)
            && (ending.format.is_some() || options.format.is_some())
        {
            return Err(format!(
                "`{}` is compressed as `{which}`, which is not read; decompress it, or compress it as gz or zst",
                path.display()
            ));
        }
        match ending.format {
            Some(other) if other != format => found.passed_over.push(path),
            // Perhaps a README beside the data; with a format given, the extension does not matter.
            None if options.format.is_none() => found.passed_over.push(path),
            _ => {
                if ending.compression.is_some()
                    && !matches!(format, TableFormat::Csv | TableFormat::Json)
                {
                    return Err(format!("`{}`: decompress it first", path.display()));
                }
                let (compression, keys) = (ending.compression, keys_of(&path));
                found.files.push(RawFile { path, object, compression, keys });
            }
        }
    }
    if found.files.is_empty() {
        return Err(format!("none of its files is {}", format.name()));
    }
    same_keys(&found.files)?;
    Ok(found)
}

/// Format and compression by a file's name: `log.csv.gz` is csv, compressed.
#[derive(Debug, Default)]
struct Ending {
    format: Option<TableFormat>,
    compression: Option<Compression>,
    unknown_compression: Option<&'static str>,
}

impl Ending {
    fn of(path: &Path) -> Self {
        let name = file_name(path).to_ascii_lowercase();
        let mut ending = Self::default();
        let mut stem = name.as_str();
        let unknown = ["bz2", "xz", "lz4", "zip", "7z", "z", "br", "snappy", "lzo"];
        if let Some((rest, last)) = name.rsplit_once('.') {
            match last {
                "gz" | "gzip" => ending.compression = Some(Compression::Gzip),
                "zst" | "zstd" => ending.compression = Some(Compression::Zstd),
                _ => ending.unknown_compression = unknown.into_iter().find(|known| *known == last),
            }
            if ending.compression.is_some() || ending.unknown_compression.is_some() {
                stem = rest;
            }
        }
        ending.format = TableFormat::of_name(stem);
        ending
    }
}

impl TableFormat {
    /// The format of a file's extension.
    fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "parquet" | "pq" | "parq" => Some(Self::Parquet),
            "csv" | "tsv" | "tab" => Some(Self::Csv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            "arrow" | "feather" | "ipc" | "arrows" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        }
    }
}

/// The delimiter of a csv file: as in the manifest, else by its name.
pub fn delimiter(options: &TableOptions, file: &Path) -> u8 {
    let name = file_name(file).to_ascii_lowercase();
    let is_tabs = name.split('.').any(|part| part == "tsv" || part == "tab");
    let by_name = if is_tabs { b'\t' } else { b',' };
    options.delimiter.as_ref().map_or(by_name, |text| text.as_bytes()[0])
}

/// The one format of all files that have a known extension.
fn one_format(
    files: &[(PathBuf, Option<Object>)],
    endings: &[Ending],
) -> Result<TableFormat, String> {
    let files = || files.iter().map(|(path, _)| path);
    let mut first: Option<(TableFormat, &PathBuf)> = None;
    for (file, format) in files().zip(endings).filter_map(|(f, e)| Some((f, e.format?))) {
        match first {
            None => first = Some((format, file)),
            Some((other, path)) if other != format => {
                return Err(format!(
                    "its files are of two formats, `{}` and `{}`; write a pattern, as `*.{}`, or \
                     `{{path: …, format: {}}}`",
                    path.display(),
                    file.display(),
                    path.extension().unwrap_or_default().to_string_lossy(),
                    other.name()
                ));
            }
            Some(_) => {}
        }
    }
    let names = || files().take(3).map(|f| format!("`{}`", f.display())).collect::<Vec<_>>();
    first.map(|(format, _)| format).ok_or_else(|| {
        format!(
            "cannot tell the format of {} by the name; write `{{path: …, format: csv}}` ({FORMATS})",
            names().join(", ")
        )
    })
}

/// All files of a path, in order, whatever they hold.
fn all_files(path: &str) -> Result<Vec<PathBuf>, String> {
    let given = Path::new(path);
    let mut files = Vec::new();
    // A name may contain the special characters of patterns.
    if given.is_dir() {
        add_folder(given, &mut Vec::new(), &mut files)?;
    } else if given.exists() {
        add_file(given, &mut files)?;
    } else if is_pattern(path) {
        let matches = glob::glob(path).map_err(|err| format!("`{path}`: {err}"))?;
        // A hidden folder that is named is meant.
        let is_named = |part: &Component| !is_pattern(&part.as_os_str().to_string_lossy());
        let named: PathBuf = given.components().take_while(is_named).collect();
        for found in matches {
            let found = found.map_err(|err| err.to_string())?;
            let matched = found.strip_prefix(&named).unwrap_or(&found);
            if matched.iter().any(|part| is_hidden(&part.to_string_lossy())) {
                continue;
            }
            if found.is_dir() {
                add_folder(&found, &mut Vec::new(), &mut files)?;
            } else {
                add_file(&found, &mut files)?;
            }
        }
    }
    files.sort();
    files.dedup(); // `**` matches a folder and what is in it
    if !files.is_empty() {
        return Ok(files);
    }
    let pattern_note = if is_pattern(path) && !given.exists() {
        "; `*`, `?` and `[` make it a pattern: write `[*]`, `[?]` or `[[]` for the plain character"
    } else {
        ""
    };
    let what = if given.is_dir() { "there is no file in" } else { "nothing at" };
    Err(format!("{what} `{path}`{pattern_note}"))
}

fn add_file(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_file() {
        return Err(format!("`{}` is neither a file nor a folder", path.display()));
    }
    files.push(path.to_path_buf());
    Ok(())
}

/// * `above`: the folders above, with links resolved.
fn add_folder(
    folder: &Path,
    above: &mut Vec<PathBuf>,
    files: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let failed = |err: std::io::Error| format!("`{}`: {err}", folder.display());
    let real = folder.canonicalize().map_err(failed)?;
    if above.contains(&real) {
        return Err(format!(
            "`{}` is a link to a folder above it, whose files would count again",
            folder.display()
        ));
    }
    above.push(real);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_hidden(&file_name(&path)) {
            continue;
        }
        if path.is_dir() {
            add_folder(&path, above, files)?;
        } else {
            add_file(&path, files)?;
        }
    }
    above.pop();
    Ok(())
}

/// Checks all folders above the files, as a pattern or path may name only part of such a table.
fn refuse_table_formats(files: &[PathBuf]) -> Result<(), String> {
    let mut seen: HashSet<PathBuf> = HashSet::new();
    for file in files {
        let Ok(path) = file.canonicalize() else { continue };
        for folder in path.ancestors().skip(1) {
            if !seen.insert(folder.to_path_buf()) {
                break; // and so those above it
            }
            refuse_table_format(folder)?;
        }
    }
    Ok(())
}

/// In these formats a log lists the files that count; reading all files would bring deleted rows
/// back.
fn refuse_table_format(folder: &Path) -> Result<(), String> {
    let iceberg = || {
        let entries = std::fs::read_dir(folder.join("metadata")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| {
            let name = file_name(&path);
            name.ends_with(".metadata.json") || name == "version-hint.text"
        })
    };
    if folder.join("_delta_log").is_dir() {
        Err(of_table_format("Delta Lake", &folder.display().to_string()))
    } else if folder.join(".hoodie").is_dir() {
        Err(of_table_format("Hudi", &folder.display().to_string()))
    } else if iceberg() {
        Err(of_table_format("Iceberg", &folder.display().to_string()))
    } else {
        Ok(())
    }
}

fn of_table_format(found: &str, folder: &str) -> String {
    format!(
        "`{folder}` is a table of {found}, whose log says which files count; it is not read here: write \
         its current rows to parquet with the tool that made it, and name that folder"
    )
}

/// Keys of the folders between a table's path and a file of it.
fn keys_of(table: &str, file: &Path) -> Vec<(String, Option<String>)> {
    let given = Path::new(table);
    if given.exists() { keys_below(given, file) } else { keys_below(&folder_of_keys(table), file) }
}

/// The folder below which keys count: of a pattern, that before its first special character.
fn folder_of_keys(table: &str) -> PathBuf {
    let Some(end) = table.find(['*', '?', '[']) else { return PathBuf::from(table) };
    let mut base = Path::new(table[..end].rsplit_once('/').map_or("", |(folder, _)| folder));
    // In `log/dt=2024/*` the key of the named folder counts as well.
    while file_name(base).contains('=') {
        base = base.parent().unwrap_or(Path::new(""));
    }
    base.to_path_buf()
}

fn keys_below(base: &Path, file: &Path) -> Vec<(String, Option<String>)> {
    let inner = file.strip_prefix(base).unwrap_or(file);
    let folders = inner.parent().into_iter().flat_map(Path::components);
    folders
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str()?.split_once('='),
            _ => None,
        })
        .map(|(key, value)| {
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
            };
            (decode(key), (value != HIVE_NULL).then(|| decode(value)))
        })
        .collect()
}

fn same_keys(files: &[RawFile]) -> Result<(), String> {
    let names = |file: &RawFile| file.keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let first = names(&files[0]);
    let Some(other) = files.iter().find(|file| names(file) != first) else { return Ok(()) };
    Err(format!(
        "`{}` and `{}` lie in folders with other keys (`{}` and `{}`); each file needs the same",
        files[0].path.display(),
        other.path.display(),
        first.join(", "),
        names(other).join(", ")
    ))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::TableSource;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                let path = dir.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "x").unwrap();
            }
            Self(dir)
        }

        fn find_as(&self, path: &str, format: Option<TableFormat>) -> Result<RawFiles, String> {
            let path = self.0.path().join(path).display().to_string();
            find(&TableOptions { format, ..TableSource::Path(path).options() })
        }

        fn find(&self, path: &str) -> Result<Vec<String>, String> {
            let found = self.find_as(path, None)?;
            let name = |file: &RawFile| {
                let path = file.path.strip_prefix(self.0.path()).unwrap();
                path.display().to_string()
            };
            Ok(found.files.iter().map(name).collect())
        }
    }

    #[test]
    fn a_folder_is_read_with_its_subfolders() {
        let folder =
            Folder::with(&["log/a.parquet", "log/2025/b.parquet", "log/_SUCCESS", "log/README.md"]);
        assert_eq!(folder.find("log").unwrap(), ["log/2025/b.parquet", "log/a.parquet"]);
        assert_eq!(folder.find("log/*").unwrap(), ["log/2025/b.parquet", "log/a.parquet"]);
        assert_eq!(folder.find("log/*.parquet").unwrap(), ["log/a.parquet"]);
        // A folder may be named like a file.
        let folder = Folder::with(&["i.parquet/2025/part-0.parquet"]);
        assert_eq!(folder.find("i.parquet").unwrap().len(), 1);
    }

    #[test]
    fn a_pattern_finds_nothing_in_hidden_folders_but_those_it_names() {
        let folder =
            Folder::with(&["log/2025/a.parquet", "log/_temporary/0/b.parquet", "log/.c/c.parquet"]);
        assert_eq!(folder.find("log/*/*.parquet").unwrap(), ["log/2025/a.parquet"]);
        assert_eq!(folder.find("log/**/*.parquet").unwrap(), ["log/2025/a.parquet"]);
        let named = folder.find("log/_temporary/*/*.parquet").unwrap();
        assert_eq!(named, ["log/_temporary/0/b.parquet"]);
    }

    #[test]
    fn folder_keys_are_the_same_for_folders_and_patterns() {
        let folder = Folder::with(&[
            "log/dt=2024-01-01/shop=a%2Fb/x.parquet",
            "log/dt=2024-01-02/shop=__HIVE_DEFAULT_PARTITION__/y.parquet",
        ]);
        let keys = |path: &str| folder.find_as(path, None).unwrap().files.remove(0).keys;
        let key = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        for path in
            ["log", "log/*/*/*.parquet", "log/dt=2024-01-01/*/*.parquet", "log/**/x.parquet"]
        {
            assert_eq!(keys(path), [key("dt", "2024-01-01"), key("shop", "a/b")], "{path}");
        }
        let found = folder.find_as("log", None).unwrap();
        assert_eq!(found.files[1].keys[1], ("shop".to_owned(), None));
        let folder = Folder::with(&["log/dt=1/x.parquet", "log/y.parquet"]);
        let message = folder.find("log").unwrap_err();
        assert!(message.contains("lie in folders with other keys (`dt` and ``)"), "{message}");
    }

    #[test]
    fn format_and_compression_follow_from_the_name() {
        let folder = Folder::with(&[
            "a.csv.gz",
            "b.TSV",
            "c.ndjson.zst",
            "d.pq",
            "e.feather",
            "f.csv.bz2",
            "g.parquet.gz",
            "h.xlsx",
        ]);
        let file = |name: &str| {
            let mut found = folder.find_as(name, None)?;
            Ok::<_, String>((found.format, found.files.remove(0).compression))
        };
        assert_eq!(file("a.csv.gz").unwrap(), (TableFormat::Csv, Some(Compression::Gzip)));
        assert_eq!(file("b.TSV").unwrap(), (TableFormat::Csv, None));
        assert_eq!(file("c.ndjson.zst").unwrap(), (TableFormat::Json, Some(Compression::Zstd)));
        assert_eq!(file("d.pq").unwrap(), (TableFormat::Parquet, None));
        assert_eq!(file("e.feather").unwrap(), (TableFormat::Arrow, None));
        for (name, expected) in [
            ("f.csv.bz2", "compressed as `bz2`"),
            ("g.parquet.gz", "decompress it first"),
            ("h.xlsx", "cannot tell the format"),
        ] {
            let message = file(name).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let options = TableSource::Path("x".to_owned()).options();
        assert_eq!(delimiter(&options, Path::new("x/b.tsv.gz")), b'\t');
        assert_eq!(delimiter(&options, Path::new("x/b.csv")), b',');
    }

    #[test]
    fn files_of_two_formats_are_never_ignored_silently() {
        let folder = Folder::with(&["log/a.parquet", "log/b.csv"]);
        let message = folder.find("log").unwrap_err();
        assert!(
            message.contains("of two formats") && message.contains("format: parquet"),
            "{message}"
        );
        let found = folder.find_as("log", Some(TableFormat::Parquet)).unwrap();
        assert_eq!((found.files.len(), found.passed_over.len()), (1, 1));
        let folder = Folder::with(&["log/a.parquet", "log/part-0001", "log/b.orc", "log/_SUCCESS"]);
        assert_eq!(folder.find_as("log", None).unwrap().passed_over.len(), 2);
    }

    #[test]
    fn delta_iceberg_and_hudi_tables_are_rejected() {
        for log in ["_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/hoodie.properties"] {
            let folder = Folder::with(&["log/a.parquet", &format!("log/{log}")]);
            for path in ["log", "log/*", "log/a.parquet", "log/*.parquet"] {
                let message = folder.find(path).unwrap_err();
                assert!(message.contains("which files count"), "{path}: {message}");
            }
        }
    }

    #[test]
    fn a_link_to_a_folder_above_is_rejected() {
        let folder = Folder::with(&["log/a.parquet", "other/b.parquet"]);
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(folder.0.path().join(to), folder.0.path().join(at)).unwrap();
        };
        link("other", "log/more");
        assert_eq!(folder.find("log").unwrap(), ["log/a.parquet", "log/more/b.parquet"]);
        link("log", "other/back");
        let message = folder.find("log").unwrap_err();
        assert!(message.contains("log/more/back` is a link to a folder above it"), "{message}");
    }

    #[test]
    fn an_existing_path_takes_precedence_over_a_pattern() {
        let folder = Folder::with(&["a[1]/i.parquet"]);
        assert_eq!(folder.find("a[1]/i.parquet").unwrap(), ["a[1]/i.parquet"]);
        let message = folder.find("b[1]/i.parquet").unwrap_err();
        assert!(message.contains("nothing at") && message.contains("`[[]`"), "{message}");
    }
}
