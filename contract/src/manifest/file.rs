//! Reading the manifest's file.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::yaml::Place;

/// Largest file that is read, in bytes. Thousands of experiments take less than one MiB.
const MAX_BYTES: u64 = 16 << 20;

/// Why a manifest's file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Place in the text, if there is one
    pub(super) place: Option<Place>,
    pub(super) message: String,
}

impl Unusable {
    fn whole(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

/// Reads the text of a regular file: UTF-8, with or without a byte order mark.
///
/// # Errors
///
/// [`Unusable`]. Pipes and devices are not opened: reading them might never end.
pub(super) fn read(path: &Path) -> Result<String, Unusable> {
    let failed = |err: std::io::Error| Unusable::whole(format!("cannot read the manifest: {err}"));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let kind = metadata.file_type();
        let found = match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        return Err(Unusable::whole(format!(
            "this is {found}, expected a file: every stage reads the manifest again"
        )));
    }
    let too_large = || {
        Unusable::whole(format!(
            "this file is larger than {} MiB, so it is not a manifest",
            MAX_BYTES >> 20
        ))
    };
    if metadata.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // The file may have grown.
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    decode(bytes)
}

fn decode(bytes: Vec<u8>) -> Result<String, Unusable> {
    const REMEDY: &str = "save it as UTF-8";

    let is_utf16 = bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.len() > 1 && (bytes[0] == 0 || bytes[1] == 0);
    if is_utf16 {
        return Err(Unusable::whole(format!("the file is UTF-16, expected UTF-8; {REMEDY}")));
    }
    let text = String::from_utf8(bytes).map_err(|err| {
        let valid = err.utf8_error().valid_up_to();
        let (start, rest) = err.as_bytes().split_at(valid);
        let place = end_of(&String::from_utf8_lossy(start));
        let message = format!("byte 0x{:02X} is not UTF-8; {REMEDY}", rest[0]);
        Unusable { place: Some(place), message }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_refused = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    match text.find(is_refused) {
        Some(at) => {
            let found = text[at..].chars().next().map_or(0, u32::from);
            let message = format!(
                "control character U+{found:04X}, expected text; remove it (in double quotes it can \
                 be written as `\\x{found:02X}`)"
            );
            Err(Unusable { place: Some(end_of(&text[..at])), message })
        }
        None => Ok(text.to_owned()),
    }
}

/// The place after the last character.
fn end_of(text: &str) -> Place {
    let line = text.rsplit('\n').next().unwrap_or_default();
    (1 + text.matches('\n').count(), 1 + line.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_ignored() {
        assert_eq!(decode(b"\xef\xbb\xbfversion: 1\r\n".to_vec()).unwrap(), "version: 1\r\n");
    }

    #[test]
    fn other_encodings_and_control_characters_are_named_with_their_place() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        for bytes in [utf16("\u{feff}version: 1"), utf16("version: 1"), b"\xfe\xff\0v".to_vec()] {
            let Unusable { place, message } = decode(bytes).unwrap_err();
            assert_eq!(place, None);
            assert!(message.starts_with("the file is UTF-16"), "{message}");
        }
        let latin = decode("a: 1\nb: é\n".chars().map(|c| c as u8).collect()).unwrap_err();
        assert_eq!(latin.place, Some((2, 4)));
        assert_eq!(latin.message, "byte 0xE9 is not UTF-8; save it as UTF-8");
        let nul = decode(b"a: 1\nb: x\0y\n".to_vec()).unwrap_err();
        assert_eq!(nul.place, Some((2, 5)));
        assert!(nul.message.starts_with("control character U+0000"), "{}", nul.message);
    }

    #[test]
    fn only_a_regular_file_of_a_sensible_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path: &Path| read(path).unwrap_err().message;
        assert!(message(dir.path()).starts_with("this is a folder, expected a file"));
        assert!(message(Path::new("/dev/zero")).starts_with("this is a device"));
        let fifo = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert!(message(&fifo).starts_with("this is a pipe"));
        let huge = dir.path().join("huge");
        File::create(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(message(&huge).starts_with("this file is larger than 16 MiB"));
        assert!(message(&dir.path().join("none")).starts_with("cannot read the manifest: "));
    }
}
