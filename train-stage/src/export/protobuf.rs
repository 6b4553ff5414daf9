//! Protobuf messages, as far as ONNX files need them: <https://protobuf.dev/programming-guides/encoding>.
//!
//! A few fields of a few messages are written once and read never, so a library and its generated types
//! would be longer than this.

/// A message being written.
#[derive(Default)]
pub struct Message(Vec<u8>);

/// Wire types: a number of seven bits a byte, so many bytes.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    /// The message's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// A whole number, negative ones as two's complement.
    #[must_use]
    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value as u64);
        self
    }

    /// Text or bytes.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message within.
    #[must_use]
    pub fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, value.0)
    }

    /// A field that repeats.
    #[must_use]
    pub fn each<T>(
        self,
        values: impl IntoIterator<Item = T>,
        add: impl Fn(Self, T) -> Self,
    ) -> Self {
        values.into_iter().fold(self, add)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the encoding guide: `150` in field 1 is 08 96 01, `testing` in field 2 is 12 07 and
    /// its letters, a message with the first in field 3 is 1a 03 08 96 01.
    #[test]
    fn messages_are_those_of_the_encoding_guide() {
        let number = || Message::default().int(1, 150);
        assert_eq!(number().finish(), [0x08, 0x96, 0x01]);
        let text = Message::default().bytes(2, "testing").finish();
        assert_eq!(text, b"\x12\x07testing");
        assert_eq!(Message::default().message(3, number()).finish(), [0x1a, 3, 0x08, 0x96, 0x01]);
        let negative = Message::default().int(1, -2).finish();
        assert_eq!(negative, [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        let repeated = Message::default().each([1, 2], |message, n| message.int(4, n)).finish();
        assert_eq!(repeated, [0x20, 1, 0x20, 2]);
    }
}
