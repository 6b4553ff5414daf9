//! Opening a file of a raw table, and errors about it.

use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::anyhow;
use contract::exit::DataError;
use contract::raw_files::{Compression, RawFile};
use contract::unreadable::{LFS_POINTER, Unreadable, refuse_lfs_pointer};

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 600;

/// An error with the table and the file.
pub fn at(err: Unreadable, table: &str, file: &Path) -> anyhow::Error {
    let place = format!("table `{table}`: {}", file.display());
    match err {
        Unreadable::Io(err) => anyhow!("{place}: {err}"),
        Unreadable::Content(what) => {
            // Readers quote what they found, which may be the whole file.
            let shown: String = what.chars().take(LONGEST_MESSAGE).collect();
            let more = if shown.len() < what.len() { "…" } else { "" };
            DataError(format!("{place}: {shown}{more}{}", hint(&what))).into()
        }
    }
}

/// A hint for errors of the format readers, which give none.
fn hint(what: &str) -> String {
    const HINTS: [(&[&str], &str); 4] = [
        (&["UTF-8"], "write the file as UTF-8"),
        (&["gzip", "deflate"], "it is damaged, or not compressed as its name says; write it again"),
        (
            &["unequal lengths"],
            "every row needs as many fields; one that holds the delimiter needs quotes",
        ),
        (
            &["json type", "Incompatible type"],
            "write the column alike in all rows, numbers, text, lists or objects",
        ),
    ];
    let hint = HINTS.iter().find(|(parts, _)| parts.iter().any(|part| what.contains(part)));
    hint.map_or_else(String::new, |(_, hint)| format!("\nhint: {hint}"))
}

/// Refuses files that are empty or not data at all.
///
/// # Errors
///
/// Why the file cannot be read.
pub fn check(file: &RawFile) -> Result<(), Unreadable> {
    let mut start = Vec::new();
    file.open()?.take(LFS_POINTER.len() as u64).read_to_end(&mut start)?;
    if start.is_empty() {
        return Err(Unreadable::content(
            "is empty (0 bytes); write it again, or remove it if it has no rows",
        ));
    }
    refuse_lfs_pointer(&start)
}

/// The file's bytes, decompressed.
///
/// # Errors
///
/// Why the file cannot be opened.
pub fn reader(file: &RawFile) -> Result<BufReader<Box<dyn Read + Send>>, Unreadable> {
    let bytes = file.open()?;
    let plain: Box<dyn Read + Send> = match file.compression {
        None => Box::new(bytes),
        Some(Compression::Gzip) => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(bytes)))
        }
        Some(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::new(bytes)?),
    };
    Ok(BufReader::with_capacity(1 << 20, plain))
}

/// Reads csv and checks its quotes, as the parser accepts any.
pub struct Quotes<R> {
    inner: R,
    delimiter: u8,
    state: Quote,
    line: u64,
    /// Line in which the last quote was opened
    opened: u64,
    /// The first mistake
    fault: Option<String>,
}

/// Position of a byte in a field.
#[derive(Clone, Copy, PartialEq)]
enum Quote {
    Start,
    Plain,
    Inside,
    Closed,
}

impl<R: Read> Quotes<R> {
    /// * `delimiter`: between fields.
    pub fn new(inner: R, delimiter: u8) -> Self {
        Self { inner, delimiter, state: Quote::Start, line: 1, opened: 0, fault: None }
    }

    /// The first mistake, once all is read.
    pub fn fault(&self) -> Option<String> {
        self.fault.clone().or_else(|| {
            (self.state == Quote::Inside).then(|| {
                format!(
                    "line {}: a quote is never closed, so all rows after it are read as one field",
                    self.opened
                )
            })
        })
    }

    fn look_at(&mut self, byte: u8) {
        use Quote::{Closed, Inside, Plain, Start};

        let is_end = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        self.state = match (self.state, byte) {
            (Start, b'"') => {
                self.opened = self.line;
                Inside
            }
            (Inside, b'"') => Closed,
            (Closed, b'"') | (Inside, _) => Inside, // a doubled quote is one quote
            (Start | Plain | Closed, _) if is_end => Start,
            (Closed, _) => {
                let (from, to) = (self.opened, self.line);
                self.fault.get_or_insert_with(|| {
                    format!(
                        "line {to}: text follows a closing quote, opened in line {from}; \
                         write each quote inside a field twice, and the field in quotes"
                    )
                });
                Plain
            }
            (Start | Plain, _) => Plain,
        };
        self.line += u64::from(byte == b'\n');
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        for &byte in &bytes[..n] {
            self.look_at(byte);
        }
        Ok(n)
    }
}
