//! An array of JSON objects, read as if each were on its own.

use std::io::{self, BufRead, Read};

/// Drops the brackets and commas between the items of a JSON array; what is within an item passes
/// unchanged. Mistakes within the items are found by whoever parses them.
pub struct JsonArray<R> {
    inner: R,
    /// How many brackets and braces are open; 1 between the items
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
    is_ended: bool,
}

impl<R: BufRead> JsonArray<R> {
    /// * `inner`: starts with the array's bracket, after white space.
    pub fn new(inner: R) -> Self {
        Self { inner, depth: 0, is_in_text: false, is_escaped: false, is_ended: false }
    }

    /// The byte as it is passed on.
    fn passed(&mut self, byte: u8) -> io::Result<u8> {
        if self.is_in_text {
            self.is_in_text = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return Ok(byte);
        }
        if self.is_ended && !byte.is_ascii_whitespace() {
            return Err(invalid("something follows the array's `]`"));
        }
        match byte {
            b'"' => self.is_in_text = true,
            b'[' | b'{' => {
                self.depth += 1;
                if self.depth == 1 {
                    return Ok(b' ');
                }
            }
            b']' if self.depth == 1 => {
                self.is_ended = true;
                return Ok(b'\n');
            }
            b']' | b'}' if self.depth > 1 => self.depth -= 1,
            b',' if self.depth == 1 => return Ok(b'\n'),
            _ => {}
        }
        Ok(byte)
    }
}

impl<R: BufRead> Read for JsonArray<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        if n == 0 && !into.is_empty() && !self.is_ended {
            return Err(invalid("the array is not closed, as by `]`: the file may be truncated"));
        }
        for byte in &mut into[..n] {
            *byte = self.passed(*byte)?;
        }
        Ok(n)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> io::Result<Vec<String>> {
        let mut read = String::new();
        JsonArray::new(text.as_bytes()).read_to_string(&mut read)?;
        Ok(read.lines().map(|line| line.trim().to_owned()).filter(|l| !l.is_empty()).collect())
    }

    #[test]
    fn each_item_is_on_its_own_line() {
        assert_eq!(items(r#" [{"a": [1, 2]}, {"b": {"c": 3}}] "#).unwrap().len(), 2);
        let text = r#"[{"a": "x],[\\\"},{\\"}, {"a": 2}]"#;
        assert_eq!(items(text).unwrap(), [r#"{"a": "x],[\\\"},{\\"}"#, r#"{"a": 2}"#]);
        assert_eq!(items("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn an_array_that_is_not_closed_or_goes_on_is_an_error() {
        assert!(items(r#"[{"a": 1}, {"a": 2}"#).unwrap_err().to_string().contains("not closed"));
        assert!(items(r#"[{"a": 1}] {"a": 2}"#).unwrap_err().to_string().contains("follows"));
    }
}
