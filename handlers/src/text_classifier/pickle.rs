//! Python's pickles, read as data: nothing of them is ever run.
//!
//! A pickle is a program for a small stack machine. The opcodes that make numbers, texts, lists and
//! dictionaries are followed; those that would call something only note what would be called, and with
//! what. So a pickle that means harm is a value like any other.

use std::collections::HashMap;
use std::io::{Cursor, Read};

/// Most bytes of a pickle that are inflated: ten times a vocabulary of a million words and word pairs.
const MAX_BYTES: u64 = 1 << 28;
/// Most opcodes that are followed of one, each of which keeps one value at most.
const MAX_STEPS: usize = 1 << 25;
/// The number that a file of the older `torch.save` begins with, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// A place in a [`Pickle`].
pub(super) type Id = usize;

/// A value of Python's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `None`, a float, bytes: what a vocabulary is not made of.
    Other,
    /// A whole number that fits.
    Int(i64),
    /// A longer one, as it is written.
    Long(Vec<u8>),
    /// A string.
    Text(String),
    /// A list, tuple or set.
    List(Vec<Id>),
    /// A dictionary, in the order it was filled.
    Dict(Vec<(Id, Id)>),
    /// A class or function by its name.
    Global,
    /// Whatever a class or function would have made, with all that it was given afterwards.
    Object(Box<Object>),
}

/// An object that was not made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    /// What its class was called with.
    pub(super) arguments: Option<Id>,
    /// What it would have been told to restore.
    pub(super) state: Option<Id>,
    /// What was put in by index, as in a `defaultdict` or `OrderedDict`.
    pub(super) entries: Vec<(Id, Id)>,
    /// What was appended.
    pub(super) items: Vec<Id>,
}

/// All values of a pickle, and which of them it stands for.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads a file of `torch.save`, of either format, or a bare pickle.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn open(file: &[u8]) -> Result<Self, String> {
        if file.starts_with(b"PK") {
            return Self::read(&zipped(file)?).map(|(pickle, _)| pickle);
        }
        let (first, mut rest) = Self::read(file)?;
        if *first.node(first.root) != Node::Long(LEGACY_MAGIC.to_vec()) {
            return Ok(first);
        }
        // After the magic number: the protocol's version, and what machine wrote it.
        for _ in 0..2 {
            rest = Self::read(rest)?.1;
        }
        Self::read(rest).map(|(pickle, _)| pickle)
    }

    /// The value it stands for.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// A value of it.
    pub(super) fn node(&self, id: Id) -> &Node {
        // Every id was given out by the machine, for a node that is there.
        &self.nodes[id]
    }

    /// A value as text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Node::Text(text) = self.node(id) { Some(text) } else { None }
    }

    /// A value as a whole number.
    pub(super) fn int(&self, id: Id) -> Option<i64> {
        if let Node::Int(value) = self.node(id) { Some(*value) } else { None }
    }

    /// The entries of a dictionary, whatever class of dictionary it is.
    pub(super) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Object(object) if !object.entries.is_empty() => Some(&object.entries),
            _ => None,
        }
    }

    /// The entry of a dictionary under this key.
    pub(super) fn entry(&self, id: Id, key: &str) -> Option<Id> {
        let mut entries = self.entries(id)?.iter();
        entries.find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }

    /// The first pickle in `bytes`, and what comes after it.
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let mut machine = Machine { input: bytes, ..Machine::default() };
        let root = machine.run(MAX_STEPS)?;
        Ok((Self { nodes: machine.nodes, root }, machine.input))
    }
}

/// The pickle in the archive that `torch.save` writes.
fn zipped(file: &[u8]) -> Result<Vec<u8>, String> {
    let broken = |reason: &dyn std::fmt::Display| format!("not a file of torch.save: {reason}");
    let mut archive = zip::ZipArchive::new(Cursor::new(file)).map_err(|error| broken(&error))?;
    let name = archive
        .file_names()
        .filter_map(std::result::Result::ok)
        .find(|name| name.ends_with("data.pkl"))
        .map(std::borrow::Cow::into_owned);
    let name = name.ok_or_else(|| broken(&"there is no data.pkl in it"))?;
    let entry = archive.by_name(&name).map_err(|error| broken(&error))?;
    let mut pickle = Vec::new();
    entry.take(MAX_BYTES).read_to_end(&mut pickle).map_err(|error| broken(&error))?;
    Ok(pickle)
}

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// How much was on the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self, most_steps: usize) -> Result<Id, String> {
        for _ in 0..most_steps {
            match self.byte()? {
                b'.' => return self.pop(),
                // Frames and protocol: nothing to do but to skip.
                0x80 => drop(self.byte()?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.back_to_mark()?),
                b'2' => self.stack.push(self.top()?),
                b'N' | 0x88 | 0x89 => self.push(Node::Other),
                b'K' => self.int(1)?,
                b'M' => self.int(2)?,
                b'J' => self.int(4)?,
                0x8a => {
                    let length = self.byte()?.into();
                    self.long(length)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Node::Other);
                }
                b'X' => self.text(4)?,
                0x8c => self.text(1)?,
                0x8d => self.text(8)?,
                // Byte strings, which Python 2 also wrote text as.
                b'U' => self.text(1)?,
                b'T' => self.text(4)?,
                b'C' => self.bytes(1)?,
                b'B' => self.bytes(4)?,
                0x8e | 0x96 => self.bytes(8)?,
                b']' | b')' | 0x8f => self.push(Node::List(Vec::new())),
                b'l' | b't' | 0x91 => {
                    let items = self.back_to_mark()?;
                    self.push(Node::List(items));
                }
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.back_to_mark()?;
                    self.append(items)?;
                }
                b'}' => self.push(Node::Dict(Vec::new())),
                b'd' => {
                    let items = self.back_to_mark()?;
                    self.push(Node::Dict(pairs(&items)?));
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.insert(vec![(key, value)])?;
                }
                b'u' => {
                    let items = self.back_to_mark()?;
                    self.insert(pairs(&items)?)?;
                }
                b'q' => self.memoize(1)?,
                b'r' => self.memoize(4)?,
                0x94 => {
                    let at = u32::try_from(self.memo.len()).map_err(|_| overfull())?;
                    self.memo.insert(at, self.top()?);
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'c' => {
                    self.line()?;
                    self.line()?;
                    self.push(Node::Global);
                }
                0x93 => {
                    self.pop()?;
                    self.pop()?;
                    self.push(Node::Global);
                }
                // Calls and new objects: noted, not made.
                b'R' | 0x81 => {
                    let arguments = Some(self.pop()?);
                    self.pop()?;
                    self.push(Node::Object(Box::new(Object { arguments, ..Object::default() })));
                }
                0x92 => {
                    self.pop()?;
                    let arguments = Some(self.pop()?);
                    self.pop()?;
                    self.push(Node::Object(Box::new(Object { arguments, ..Object::default() })));
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    match &mut self.nodes[object] {
                        Node::Object(object) => object.state = Some(state),
                        _ => return Err("the pickle restores what is no object".into()),
                    }
                }
                // What lies outside the pickle: the numbers of tensors.
                b'Q' => {
                    self.pop()?;
                    self.push(Node::Other);
                }
                other => {
                    return Err(format!(
                        "the pickle has the opcode {other:#04x}, which is not read"
                    ));
                }
            }
        }
        Err(overfull())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.input.split_at_checked(length).ok_or("the pickle ends early")?;
        self.input = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of so many bytes.
    fn unsigned(&mut self, width: usize) -> Result<usize, String> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| overfull())
    }

    fn line(&mut self) -> Result<(), String> {
        let end = self.input.iter().position(|c| *c == b'\n').ok_or("the pickle ends early")?;
        self.take(end + 1).map(drop)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= bottom {
            return Err("the pickle takes more than it gave".into());
        }
        self.stack.pop().ok_or_else(|| "the pickle takes more than it gave".into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "the pickle takes more than it gave".into())
    }

    fn back_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("the pickle goes back to a mark that is not there")?;
        if mark > self.stack.len() {
            return Err("the pickle takes more than it gave".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn int(&mut self, width: usize) -> Result<(), String> {
        let bytes = self.take(width)?;
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(bytes);
        let value = i64::from_le_bytes(wide);
        // Of the three widths only that of four bytes has a sign.
        let is_negative = width == 4 && bytes[3] & 0x80 != 0;
        self.push(Node::Int(if is_negative { value - (1 << 32) } else { value }));
        Ok(())
    }

    fn long(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        let node = if length > 8 {
            Node::Long(bytes.to_vec())
        } else {
            let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [sign; 8];
            wide[..length].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        };
        self.push(node);
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), String> {
        let length = self.unsigned(width)?;
        let bytes = self.take(length)?;
        // Python lets lone surrogates through, which no client's text can hold.
        self.push(Node::Text(String::from_utf8_lossy(bytes).into_owned()));
        Ok(())
    }

    fn bytes(&mut self, width: usize) -> Result<(), String> {
        let length = self.unsigned(width)?;
        self.take(length)?;
        self.push(Node::Other);
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), String> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Node::List(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(known) => known.extend(items),
            Node::Object(object) => object.items.extend(items),
            _ => return Err("the pickle appends to what is no list".into()),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<(Id, Id)>) -> Result<(), String> {
        let dict = self.top()?;
        match &mut self.nodes[dict] {
            Node::Dict(known) => known.extend(items),
            Node::Object(object) => object.entries.extend(items),
            _ => return Err("the pickle puts entries into what is no dictionary".into()),
        }
        Ok(())
    }

    fn memoize(&mut self, width: usize) -> Result<(), String> {
        let at = u32::try_from(self.unsigned(width)?).map_err(|_| overfull())?;
        self.memo.insert(at, self.top()?);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), String> {
        let at = u32::try_from(self.unsigned(width)?).map_err(|_| overfull())?;
        let id = *self.memo.get(&at).ok_or("the pickle recalls what it never kept")?;
        self.stack.push(id);
        Ok(())
    }
}

fn overfull() -> String {
    "the pickle holds more than fits".into()
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("the pickle has a key without a value".into());
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_called_is_noted_and_never_made() {
        // os.system("true"), as pickletools.dis shows it: GLOBAL, BINUNICODE, TUPLE1, REDUCE, STOP.
        let harm = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let pickle = Pickle::open(harm).unwrap();
        let Node::Object(object) = pickle.node(pickle.root()) else { panic!("an object") };
        let Node::List(arguments) = pickle.node(object.arguments.unwrap()) else {
            panic!("a tuple")
        };
        assert_eq!(pickle.text(arguments[0]), Some("true"));
    }

    #[test]
    fn numbers_keep_their_sign() {
        for (bytes, value) in [
            (&b"K\xff."[..], 255),
            (b"M\x01\x02.", 0x201),
            (b"J\xff\xff\xff\xff.", -1),
            (b"J\x00\x00\x01\x00.", 65_536),
            (b"\x8a\x00.", 0),
            (b"\x8a\x01\x80.", -128),
            (b"\x8a\x05\x00\x00\x00\x00\x01.", 1 << 32),
        ] {
            let pickle = Pickle::open(bytes).unwrap();
            assert_eq!(pickle.int(pickle.root()), Some(value), "{bytes:?}");
        }
    }

    #[test]
    fn a_pickle_that_only_grows_is_given_up() {
        // Doubling the top of the stack, keeping it and marking it take a byte each and make no value.
        for opcode in [b'2', 0x94, b'('] {
            let pickle = [b'N', opcode, opcode, opcode, b'0', b'.'];
            let run = |steps| Machine { input: &pickle, ..Machine::default() }.run(steps);
            assert_eq!(run(3), Err(overfull()));
            assert_ne!(run(6), Err(overfull()));
        }
    }

    #[test]
    fn broken_pickles_are_errors() {
        for bytes in [
            &b""[..],
            b".",
            b"(.",
            b"K",
            b"e.",
            b"K\x01K\x02a.",
            b"}(K\x01u.",
            b"h\x05.",
            b"K\x01K\x02b.",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
            b"cos",
            b"1.",
            b"(K\x01(0",
            b"PK\x03\x04",
            b"\xff.",
        ] {
            assert!(Pickle::open(bytes).is_err(), "{bytes:?}");
        }
    }
}
