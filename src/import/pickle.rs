//! Python pickles, read as data.
//!
//! A pickle is a program for a small stack machine that can call any Python function. Here nothing is called: what a
//! call would make becomes an empty dictionary that remembers nothing of it, but for the few by which PyTorch describes
//! tensors. Values lie in one list and refer to each other by number, so that what refers to itself, or nests
//! a million times, costs no more than its own bytes.

use std::collections::HashMap;
use std::rc::Rc;

/// Longest pickle that is read, in bytes: that of a PyTorch file holds names and shapes, no weights.
pub(super) const LONGEST: u64 = 64 << 20;

/// Most values in a pickle, and most that are remembered or wait on the stack: those of large checkpoints, the
/// optimizer's state included, have a tenth of them.
const MOST_VALUES: usize = 1 << 20;

/// Longest name of a class or a file, in bytes, and most dimensions: no call may make much of little.
const LONGEST_NAME: usize = 256;
const MOST_DIMENSIONS: usize = 8;

/// Number of a value.
pub(super) type Id = u32;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `None`, truths, numbers that do not fit: what nobody here needs.
    Other,
    Int(i64),
    Float(f64),
    Text(String),
    /// Tuples and lists.
    Row(Vec<Id>),
    /// Keys and values, in order.
    Dict(Vec<(Id, Id)>),
    /// A function or a class, as `module name`.
    Name(String),
    Storage(Rc<Storage>),
    Tensor(Tensor),
}

/// Numbers in a file of their own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    /// As PyTorch names it, such as `FloatStorage`.
    pub kind: String,
    /// Name of the file.
    pub key: String,
    /// How many numbers it has.
    pub len: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub storage: Rc<Storage>,
    /// First number.
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The values that a pickle builds.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Runs the pickle in `bytes`.
    ///
    /// # Errors
    /// A sentence that says where it makes no sense.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        Ok(Self {
            values: machine.values,
            root,
        })
    }

    pub fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub fn root(&self) -> &Value {
        self.get(self.root)
    }

    /// The value of a key that is text.
    pub fn entry<'a>(&'a self, of: &'a Value, key: &str) -> Option<&'a Value> {
        self.entries(of)
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Entries of a dictionary whose keys are text.
    pub fn entries<'a>(&'a self, of: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let entries: &[(Id, Id)] = match of {
            Value::Dict(entries) => entries,
            _ => &[],
        };
        entries
            .iter()
            .filter_map(|&(key, value)| match self.get(key) {
                Value::Text(key) => Some((&**key, self.get(value))),
                _ => None,
            })
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let start = self.at;
            let op = self.byte()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op)
                .and_then(|()| self.check_size())
                .map_err(|reason| format!("a damaged pickle, at byte {start}: {reason}"))?;
        }
    }

    /// No byte may make many: an instruction of one can remember or repeat what is there.
    fn check_size(&self) -> Result<(), String> {
        let parts = [
            ("values", self.values.len()),
            ("values on the stack", self.stack.len()),
            ("marks", self.marks.len()),
            ("remembered values", self.memo.len()),
        ];
        match parts.into_iter().find(|&(_, len)| len > MOST_VALUES) {
            Some((what, _)) => Err(format!("expected at most {MOST_VALUES} {what}, found more")),
            None => Ok(()),
        }
    }

    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            0x80 => drop(self.take(1)?), // PROTO
            0x95 => drop(self.take(8)?), // FRAME
            0x98 => {}                   // READONLY_BUFFER
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
            }

            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'I' => {
                let number = self.line()?.parse();
                self.push(number.map_or(Value::Other, Value::Int));
            }
            b'L' => {
                let line = self.line()?;
                let number = line.trim_end_matches('L').parse();
                self.push(number.map_or(Value::Other, Value::Int));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            0x8a => {
                let len = self.byte()?.into();
                self.long(len)?;
            }
            0x8b => {
                let len = self.length4()?;
                self.long(len)?;
            }
            b'F' => {
                let number = self.line()?.parse();
                self.push(number.map_or(Value::Other, Value::Float));
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(number));
            }

            b'S' => {
                let line = self.line()?;
                let text = line.trim_matches(|c| c == '\'' || c == '"').to_owned();
                self.push(Value::Text(text));
            }
            b'V' => {
                let line = self.line()?;
                self.push(Value::Text(line));
            }
            b'U' | 0x8c | b'C' => {
                let len = self.byte()?.into();
                self.text(len)?;
            }
            b'T' | b'X' | b'B' => {
                let len = self.length4()?;
                self.text(len)?;
            }
            0x8d | 0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(len)?;
            }

            b')' | b']' | 0x8f => self.push(Value::Row(Vec::new())),
            b't' | b'l' | 0x91 => {
                let row = self.above_mark()?;
                self.push(Value::Row(row));
            }
            0x85..=0x87 => {
                let first = self.height_below(usize::from(op - 0x84))?;
                let row = self.stack.split_off(first);
                self.push(Value::Row(row));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Dict(Vec::new()));
                self.set(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(&items)?;
            }

            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.push(Value::Name(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = match (self.at(module), self.at(name)) {
                    (Value::Text(module), Value::Text(name))
                        if module.len() + name.len() < LONGEST_NAME =>
                    {
                        format!("{module} {name}")
                    }
                    _ => return Err("expected the name of a class".into()),
                };
                self.push(Value::Name(name));
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            0x92 => {
                self.pop()?;
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments)?;
            }
            b'i' => {
                let _class = (self.line()?, self.line()?);
                self.above_mark()?;
                self.push(Value::Dict(Vec::new()));
            }
            b'o' => {
                self.above_mark()?;
                self.push(Value::Dict(Vec::new()));
            }
            // The state of an object that we did not make.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id);
                self.push(storage);
            }
            b'P' => {
                self.line()?;
                self.push(Value::Other);
            }

            b'p' => {
                let key = self.number_line()?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.byte()?.into();
                self.remember(key)?;
            }
            b'r' => {
                let key = self.length4()?;
                self.remember(key)?;
            }
            0x94 => {
                let key = self.memo.len() as u64;
                self.remember(key)?;
            }
            b'g' => {
                let key = self.number_line()?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = self.length4()?;
                self.recall(key)?;
            }
            other => return Err(format!("an instruction {other:#04x} that is not known")),
        }
        Ok(())
    }

    fn take(&mut self, n: u64) -> Result<&[u8], String> {
        let rest = &self.bytes[self.at..];
        let Some(n) = usize::try_from(n).ok().filter(|&n| n <= rest.len()) else {
            return Err(format!("expected {n} bytes more, found {}", rest.len()));
        };
        self.at += n;
        Ok(&rest[..n])
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    fn length4(&mut self) -> Result<u64, String> {
        Ok(u32::from_le_bytes(self.array()?).into())
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let Some(len) = rest.iter().position(|&b| b == b'\n') else {
            return Err("expected the end of a line".into());
        };
        self.at += len + 1;
        Ok(String::from_utf8_lossy(&rest[..len]).into_owned())
    }

    fn number_line(&mut self) -> Result<u64, String> {
        let line = self.line()?;
        line.parse()
            .map_err(|_| format!("expected a number, found {line:?}"))
    }

    fn text(&mut self, len: u64) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    /// A number of `len` bytes, the lowest first, in two's complement.
    fn long(&mut self, len: u64) -> Result<(), String> {
        let bytes = self.take(len)?;
        let value = if bytes.len() > 8 {
            Value::Other
        } else {
            let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut whole = [if negative { 0xff } else { 0 }; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(whole))
        };
        self.push(value);
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
    }

    fn at(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// Where the top `n` values begin; marks are not reached through.
    fn height_below(&self, n: usize) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let first = self.stack.len().checked_sub(n);
        first
            .filter(|&first| first >= floor)
            .ok_or_else(|| "expected a value, found none".to_owned())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("expected a mark, found none")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id, String> {
        let first = self.height_below(1)?;
        Ok(self.stack[first])
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Row(row) = &mut self.values[top as usize] {
            row.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Dict(entries) = &mut self.values[top as usize] {
            let (pairs, _) = items.as_chunks::<2>();
            entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let known = self.memo.get(&key);
        let id = *known.ok_or_else(|| format!("value {key} was never remembered"))?;
        self.stack.push(id);
        Ok(())
    }

    /// The result of a call: a tensor, or a dictionary to be filled.
    fn call(&mut self, function: Id, arguments: Id) -> Result<(), String> {
        let known = match (self.at(function), self.at(arguments)) {
            (Value::Name(name), Value::Row(row)) => match (&**name, &row[..]) {
                ("torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor", row) => {
                    self.tensor(row)
                }
                // A parameter is its tensor.
                ("torch._utils _rebuild_parameter", &[tensor, ..]) => {
                    self.stack.push(tensor);
                    return Ok(());
                }
                _ => None,
            },
            _ => None,
        };
        self.push(known.unwrap_or(Value::Dict(Vec::new())));
        Ok(())
    }

    /// `(storage, offset, shape, strides, …)`.
    fn tensor(&self, arguments: &[Id]) -> Option<Value> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            return None;
        };
        let Value::Storage(storage) = self.at(storage) else {
            return None;
        };
        let row = |id: Id| match self.at(id) {
            Value::Row(row) if row.len() <= MOST_DIMENSIONS => {
                row.iter().map(|&id| self.size(id)).collect()
            }
            _ => None,
        };
        Some(Value::Tensor(Tensor {
            storage: storage.clone(),
            offset: self.size(offset)?,
            shape: row(shape)?,
            strides: row(strides)?,
        }))
    }

    fn size(&self, id: Id) -> Option<u64> {
        match *self.at(id) {
            Value::Int(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// `("storage", class, key, place, len)`.
    fn storage(&self, id: Id) -> Value {
        let Value::Row(row) = self.at(id) else {
            return Value::Other;
        };
        let [what, class, key, _, len] = row[..] else {
            return Value::Other;
        };
        match (self.at(what), self.at(class), self.at(key), self.size(len)) {
            (Value::Text(what), Value::Name(class), Value::Text(key), Some(len))
                if what == "storage" && class.len().max(key.len()) < LONGEST_NAME =>
            {
                Value::Storage(Rc::new(Storage {
                    kind: class.trim_start_matches("torch ").to_owned(),
                    key: key.clone(),
                    len,
                }))
            }
            _ => Value::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Option<&Value>) -> &str {
        match value {
            Some(Value::Text(text)) => text,
            other => panic!("expected text, found {other:?}"),
        }
    }

    #[test]
    fn the_protocols_say_the_same() {
        // {"a": "b", "n": [1, 2.5]}: by hand in protocols 0 and 2, and 4 with its frames.
        let first = b"(dp0\nVa\np1\nVb\np2\nsVn\np3\n(lp4\nI1\naF2.5\nas.";
        let second = b"\x80\x02}q\x00(X\x01\x00\x00\x00aX\x01\x00\x00\x00bX\x01\x00\x00\x00n](K\x01G\x40\x04\0\0\0\0\0\0eu.";
        let fourth = b"\x80\x04\x95\x1e\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94\x8c\x01b\x94\x8c\x01n\x94]\x94(\x8a\x01\x01G\x40\x04\0\0\0\0\0\0eu.";
        for bytes in [&first[..], second, fourth] {
            let pickle = Pickle::read(bytes).expect("a pickle");
            assert_eq!(text(pickle.entry(pickle.root(), "a")), "b");
            let Some(Value::Row(row)) = pickle.entry(pickle.root(), "n") else {
                panic!("expected a row");
            };
            assert!(matches!(pickle.get(row[0]), Value::Int(1)));
            assert!(matches!(pickle.get(row[1]), Value::Float(x) if *x == 2.5));
        }
    }

    #[test]
    fn calls_are_not_made_and_what_they_would_make_can_be_filled() {
        // os.system("x"), and a class of somebody's whose items are set.
        let pickle = Pickle::read(b"cos\nsystem\n(S'x'\ntR.").expect("a pickle");
        assert!(matches!(pickle.root(), Value::Dict(entries) if entries.is_empty()));
        let pickle =
            Pickle::read(b"\x80\x02cmine\nAttributeDict\n)\x81}(U\x01aU\x01bub(U\x01kU\x01vu.");
        let pickle = pickle.expect("a pickle");
        assert_eq!(text(pickle.entry(pickle.root(), "k")), "v");
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_bombs_are_small() {
        for bytes in [
            &b""[..],
            b".",
            b"t.",
            b"\x80",
            b"X\xff\xff\xff\xff",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            b"h\x05.",
            b"(\x85.",
            b"\xff.",
            b"I1",
            b"\x93.",
        ] {
            assert!(Pickle::read(bytes).is_err(), "{bytes:?}");
        }
        // Calls that would copy what they are given, each a few bytes long.
        let mut copies = b"ctorch._utils\n_rebuild_parameter\nq\x00(U\xff".to_vec();
        copies.extend([b'x'; 255]);
        copies.extend(b"tq\x01");
        copies.extend(b"h\x00h\x01R".repeat(10_000));
        copies.push(b'.');
        let pickle = Pickle::read(&copies).expect("a pickle");
        assert_eq!(pickle.values.len(), 3);
        for (first, again) in [
            ("", "N"),
            ("", "("),
            ("N", "2"),
            ("N", "\u{94}"),
            ("Nq\0", "h\0"),
        ] {
            let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<_>>();
            let many = [latin(first), latin(again).repeat(MOST_VALUES + 1)].concat();
            assert!(Pickle::read(&many).is_err_and(|error| error.contains("at most")));
        }
        // A million nested rows, and a list that holds itself ten thousand times.
        let mut deep = b")".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 1_000_000));
        deep.push(b'.');
        assert!(Pickle::read(&deep).is_ok());
        let mut wide = b"]q\x00(".to_vec();
        wide.extend(b"h\x00".repeat(10_000));
        wide.extend(b"e.");
        let pickle = Pickle::read(&wide).expect("a pickle");
        assert!(matches!(pickle.root(), Value::Row(row) if row.len() == 10_000));
    }
}
