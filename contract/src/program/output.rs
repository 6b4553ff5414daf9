//! What programs print: results to stdout, messages to stderr.
//!
//! A closed pipe, as after `| head`, is not an error and does not stop the work. Any other failed
//! write to stdout loses results, so the program ends with exit code 1.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// The first error of writing results.
static FAILED: OnceLock<String> = OnceLock::new();

/// Prints a line of results. [`ended`](crate::output::ended) reports whether all were written.
#[macro_export]
macro_rules! print_line {
    ($($argument:tt)*) => { $crate::output::write_result(format_args!($($argument)*)) };
}

/// Prints a line for people to stderr. Never panics: messages can be lost, work cannot.
#[macro_export]
macro_rules! warn_line {
    ($($argument:tt)*) => { $crate::output::write_message(format_args!($($argument)*)) };
}

/// What [`print_line!`] does.
pub fn write_result(text: fmt::Arguments) {
    if FAILED.get().is_none() {
        note_failure(write_line(&mut io::stdout().lock(), text));
    }
}

/// What [`warn_line!`] does.
pub fn write_message(text: fmt::Arguments) {
    let _ = write_line(&mut io::stderr().lock(), text);
}

fn write_line(target: &mut impl Write, text: fmt::Arguments) -> io::Result<()> {
    target.write_all(visible(&format!("{text}\n")).as_bytes())?;
    target.flush()
}

/// Remembers that results could not be written, unless the reader closed the pipe.
pub fn note_failure(written: io::Result<()>) {
    match written {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => drop(FAILED.set(err.to_string())),
        _ => {}
    }
}

/// The exit code of a program that finished its work: `code`, or 1 if results were lost.
pub fn ended(program: &str, code: u8) -> u8 {
    match FAILED.get() {
        Some(err) => {
            warn_line!("{program}: cannot write to stdout: {err}\nhint: is the disk full?");
            code.max(crate::exit::EXIT_FAILED)
        }
        None => code,
    }
}

/// Text in which a terminal or browser interprets nothing: each control character except line ends
/// and tabs, and each mark of the writing direction, becomes `\u` and four hexadecimal digits. In a
/// JSON string that is the same character.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// As [`visible`], for a single line: line ends and tabs are escaped as well.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    match visible(text) {
        shown if shown.contains(['\n', '\t']) => {
            shown.replace('\n', "\\u000a").replace('\t', "\\u0009").into()
        }
        shown => shown,
    }
}

fn is_hidden(c: char) -> bool {
    let is_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let is_line_end = matches!(c, '\u{2028}' | '\u{2029}');
    (c.is_control() && c != '\n' && c != '\t') || is_direction || is_line_end || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("a\0b\u{1b}[31mc\r\n\td"), "a\\u0000b\\u001b[31mc\\u000d\n\td");
        assert_eq!(visible("\u{202e}txt\u{2069}\u{85}\u{7f}"), "\\u202etxt\\u2069\\u0085\\u007f");
        assert_eq!(visible_line("a\tb\nc"), "a\\u0009b\\u000ac");
        assert!(matches!(visible("zürich, 東京 –"), Cow::Borrowed(_)));
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!(["\u{202e}x\u{85}", "\u{1b}\u{7f}\u{feff}"]);
        let text = value.to_string();
        let shown = visible(&text);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
