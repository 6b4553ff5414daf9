//! A graph of operations on arrays, and its ONNX file: <https://onnx.ai/onnx/repo-docs/IR.html>.
//!
//! Field numbers are those of `onnx.proto`.

use super::protobuf::Message;

/// Version of the file format: that of ONNX 1.10 and later.
const IR_VERSION: i64 = 8;

/// Version of the operators: 16 is the first in which `ScatterElements` adds.
const OPSET: i64 = 16;

/// Types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F32 = 1,
    I64 = 7,
    Bool = 9,
}

/// A side of an array.
#[derive(Debug, Clone)]
pub enum Side {
    Fixed(usize),
    /// Known only when the graph runs, by this name
    Named(String),
}

/// An attribute of an operation.
pub enum Attribute {
    Int(i64),
    Text(&'static str),
}

/// An array that an operation gives or reads, by name.
pub type Name = String;

/// A graph being built.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

impl Graph {
    /// An array that the user gives.
    pub fn input(&mut self, name: &str, element: Element, shape: &[Side]) -> Name {
        self.inputs.push(value_info(name, element, shape));
        name.to_owned()
    }

    /// Makes an array a result, under a name of its own.
    pub fn output(&mut self, name: &str, array: &Name, element: Element, shape: &[Side]) {
        let node = Message::default().bytes(1, array).bytes(2, name).bytes(4, "Identity");
        self.nodes.push(node);
        self.outputs.push(value_info(name, element, shape));
    }

    /// A constant array of numbers.
    pub fn floats(&mut self, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Name {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.constant(Element::F32, shape, &bytes)
    }

    /// A constant array of whole numbers.
    pub fn ints(&mut self, shape: &[usize], values: impl IntoIterator<Item = i64>) -> Name {
        let bytes: Vec<u8> = values.into_iter().flat_map(i64::to_le_bytes).collect();
        self.constant(Element::I64, shape, &bytes)
    }

    fn constant(&mut self, element: Element, shape: &[usize], bytes: &[u8]) -> Name {
        // No feature's name starts like this, as they are columns of SQL tables.
        let name = format!("//constant/{}", self.constants.len());
        let tensor = Message::default()
            .each(shape, |message, &side| message.int(1, side as i64))
            .int(2, element as i64)
            .bytes(8, &name)
            .bytes(9, bytes);
        self.constants.push(tensor);
        name
    }

    /// Adds an operation.
    pub fn op(&mut self, op: &str, inputs: &[&Name]) -> Name {
        self.op_with(op, inputs, &[])
    }

    /// Adds an operation with attributes.
    pub fn op_with(
        &mut self,
        op: &str,
        inputs: &[&Name],
        attributes: &[(&str, Attribute)],
    ) -> Name {
        let name = format!("//{op}/{}", self.nodes.len());
        let node = Message::default()
            .each(inputs, |message, input| message.bytes(1, input))
            .bytes(2, &name)
            .bytes(3, &name)
            .bytes(4, op)
            .each(attributes, |message, (name, value)| {
                let attribute = Message::default().bytes(1, name);
                message.message(
                    5,
                    match value {
                        Attribute::Int(value) => attribute.int(3, *value).int(20, 2),
                        Attribute::Text(value) => attribute.bytes(4, value).int(20, 3),
                    },
                )
            });
        self.nodes.push(node);
        name
    }

    /// The bytes of the file.
    ///
    /// * `said`: what readers should know, as pairs of key and value.
    pub fn finish(self, said: &[(&str, String)]) -> Vec<u8> {
        let graph = Message::default()
            .each(self.nodes, |message, node| message.message(1, node))
            .bytes(2, "brands")
            .each(self.constants, |message, constant| message.message(5, constant))
            .each(self.inputs, |message, input| message.message(11, input))
            .each(self.outputs, |message, output| message.message(12, output));
        Message::default()
            .int(1, IR_VERSION)
            .bytes(2, "train-stage")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .message(7, graph)
            .message(8, Message::default().bytes(1, "").int(2, OPSET))
            .each(said, |message, (key, value)| {
                message.message(14, Message::default().bytes(1, key).bytes(2, value))
            })
            .finish()
    }
}

fn value_info(name: &str, element: Element, shape: &[Side]) -> Message {
    let shape = Message::default().each(shape, |message, side| {
        message.message(
            1,
            match side {
                Side::Fixed(n) => Message::default().int(1, *n as i64),
                Side::Named(name) => Message::default().bytes(2, name),
            },
        )
    });
    let tensor = Message::default().int(1, element as i64).message(2, shape);
    Message::default().bytes(1, name).message(2, Message::default().message(1, tensor))
}
