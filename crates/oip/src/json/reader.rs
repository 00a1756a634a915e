//! A reader of JSON that hands out what it meets, and never makes a tree of it.
//!
//! It takes what `serde_json` does and one thing more: `NaN`, `Infinity` and `-Infinity` where a number may
//! stand, as Python writes them.

use std::borrow::Cow;
use std::ops::Range;

use mar_engine::{Error, Result};
use memchr::memchr3;

use crate::Parameter;

/// Objects and arrays within each other at most.
const DEEPEST: usize = 100;

/// A text that is read from its start to its end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// What stands at some places of the text.
    pub(super) fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.text[range]
    }

    /// The next byte that is no white space; it is still to be read.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Whether nothing follows.
    ///
    /// # Errors
    /// Where something does.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    /// Each member of an object: the closure is given its name, and reads its value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        self.open(b'{', "an object")?;
        if !self.takes(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected("a name in quotes"));
                }
                let name = self.string()?;
                self.expect(b':', "a colon")?;
                member(self, &name)?;
                if self.takes(b'}') {
                    break;
                }
                self.expect(b',', "a comma or }")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Each element of an array, which the closure reads.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[', "an array")?;
        if !self.takes(b']') {
            loop {
                element(self)?;
                if self.takes(b']') {
                    break;
                }
                self.expect(b',', "a comma or ]")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A string, unescaped.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string"));
        }
        let start = self.at;
        self.at += 1;
        let mut is_plain = true;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.at += 2;
                }
                Some(0..0x20) => return Err(self.unexpected("an escape for a control character")),
                Some(_) => self.at += 1,
                None => {
                    self.at = self.text.len();
                    return Err(self.unexpected("the end of a string"));
                }
            }
        }
        self.at += 1;
        let quoted = &self.text[start..self.at];
        let text = if is_plain {
            std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed)
        } else {
            serde_json::from_slice(quoted).ok().map(Cow::Owned)
        };
        text.ok_or_else(|| {
            malformed(&format!(
                "the string at byte {start} is no UTF-8, or has an escape that is none"
            ))
        })
    }

    /// `true`, `false` or `null`, where one of them is next.
    pub(super) fn word(&mut self) -> Option<&'static str> {
        let word = match self.peek()? {
            b'n' => "null",
            b't' => "true",
            b'f' => "false",
            _ => return None,
        };
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(word)
    }

    /// A number as it is written, or a word for what is none.
    pub(super) fn number(&mut self) -> Result<&'a str> {
        self.peek();
        let start = self.at;
        let rest = &self.text[start..];
        // One look at the first letters, because nearly all are digits and there may be millions.
        if let [b'N' | b'I', ..] | [b'-', b'I', ..] = rest {
            for word in ["NaN", "Infinity", "-Infinity"] {
                if rest.starts_with(word.as_bytes()) {
                    self.at += word.len();
                    return std::str::from_utf8(&rest[..word.len()])
                        .map_err(|_| self.unexpected("a number"));
                }
            }
        }
        let digits = |this: &mut Self| {
            let count =
                this.text[this.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            this.at += count;
            count
        };
        self.at += usize::from(rest.first() == Some(&b'-'));
        let leads_with_zero = self.text.get(self.at) == Some(&b'0');
        let whole = digits(self);
        let mut is_number = whole == 1 || whole > 1 && !leads_with_zero;
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            is_number &= digits(self) > 0;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            is_number &= digits(self) > 0;
        }
        let number = std::str::from_utf8(&self.text[start..self.at]).ok().filter(|_| is_number);
        number.ok_or_else(|| {
            self.at = start;
            self.unexpected("a value")
        })
    }

    /// A value beside a request or a tensor; `None` for `null`.
    pub(super) fn parameter(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(Some(match self.peek() {
            Some(b'"') => Parameter::Text(self.string()?.into_owned()),
            Some(b'{' | b'[') => {
                let name = crate::quoted::Quoted(name);
                return Err(Error::invalid_input(format!(
                    "parameter {name} is not a string, a number, true or false"
                )));
            }
            _ => match self.word() {
                Some("null") => return Ok(None),
                Some(word) => Parameter::Bool(word == "true"),
                None => {
                    let number = self.number()?;
                    let whole = number.parse().map(Parameter::Int);
                    let whole = whole.or_else(|_| number.parse().map(Parameter::UInt));
                    match whole.or_else(|_| number.parse().map(Parameter::Double)) {
                        Ok(value) => value,
                        Err(_) => return Err(self.unexpected("a number")),
                    }
                }
            },
        }))
    }

    /// Reads over a value.
    pub(super) fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => self.object(|this, _| this.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b'"') => self.string().map(drop),
            _ => match self.word() {
                Some(_) => Ok(()),
                None => self.number().map(drop),
            },
        }
    }

    /// Reads over a value, and gives what is written there.
    pub(super) fn value(&mut self) -> Result<&'a [u8]> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Reads over an array without looking into it, and says where it stands. What it holds is checked by whoever
    /// reads that.
    pub(super) fn array_range(&mut self) -> Result<Range<usize>> {
        if self.peek() != Some(b'[') {
            return Err(self.unexpected("an array"));
        }
        let start = self.at;
        let mut depth = 0_usize;
        // What a number is made of, of which there may be millions, is passed over as quickly as memory is read.
        while let Some(next) = memchr3(b'[', b']', b'"', &self.text[self.at..]) {
            self.at += next;
            match self.text[self.at] {
                b'[' => {
                    depth += 1;
                    if depth + self.depth > DEEPEST {
                        return Err(self.too_deep());
                    }
                }
                b']' => depth -= 1,
                _ => {
                    self.string()?;
                    continue;
                }
            }
            self.at += 1;
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
        self.at = self.text.len();
        Err(self.unexpected("]"))
    }

    /// What was expected, and where something else stands.
    pub(super) fn unexpected(&self, expected: &str) -> Error {
        malformed(&match self.text.get(self.at) {
            Some(_) => format!("expected {expected} at byte {}", self.at),
            None => format!("it ends where {expected} should be"),
        })
    }

    fn too_deep(&self) -> Error {
        malformed(&format!("more than {DEEPEST} levels at byte {}", self.at))
    }

    fn open(&mut self, bracket: u8, what: &str) -> Result<()> {
        if self.peek() != Some(bracket) {
            return Err(self.unexpected(what));
        }
        if self.depth == DEEPEST {
            return Err(self.too_deep());
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<()> {
        if self.takes(byte) { Ok(()) } else { Err(self.unexpected(what)) }
    }
}

fn malformed(how: &str) -> Error {
    Error::invalid_input(format!("the body is not JSON: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str) -> Result<(), String> {
        let mut reader = Reader::new(text.as_bytes());
        reader.skip().and_then(|()| reader.end()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_json_is_read_and_nothing_else() {
        for json in [
            r#" {"a": [1, -2.5e+3, "x\n\u00e9", null, true, {}], "b": []} "#,
            "0",
            "-0",
            "1E5",
            "NaN",
            "[Infinity, -Infinity]",
        ] {
            assert_eq!(skipped(json), Ok(()), "{json}");
        }
        for none in [
            "",
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{a: 1}",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "nan",
            "tru",
            "\"a",
            "\"\\x\"",
            "\"\u{1}\"",
            "1 2",
            "[1 2]",
            "\"\\",
            "\"\\ud800\"",
        ] {
            assert!(skipped(none).is_err(), "{none}");
        }
        assert!(Reader::new(b"\"\xff\"").string().is_err());
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(
            skipped("[1;2]").unwrap_err(),
            "the body is not JSON: expected a comma or ] at byte 2"
        );
        assert_eq!(
            skipped("[1").unwrap_err(),
            "the body is not JSON: it ends where a comma or ] should be"
        );
    }

    #[test]
    fn a_hundred_levels_are_enough() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(skipped(&nested(100)), Ok(()));
        assert!(skipped(&nested(101)).unwrap_err().contains("more than 100 levels"));
        let range =
            |text: &str| Reader::new(text.as_bytes()).array_range().map(|range| range.len());
        assert_eq!(range(&nested(100)).unwrap(), 200);
        assert!(range(&nested(101)).is_err());
        assert_eq!(range(r#"["]", [1]] tail"#).unwrap(), 10);
        assert!(range("[1").is_err());
    }

    #[test]
    fn parameters_are_of_the_kind_that_they_are_written_in() {
        let of =
            |text: &str| Reader::new(text.as_bytes()).parameter("p").map_err(|e| e.to_string());
        assert_eq!(of("-5"), Ok(Some(Parameter::Int(-5))));
        assert_eq!(of("18446744073709551615"), Ok(Some(Parameter::UInt(u64::MAX))));
        assert_eq!(of("1.5"), Ok(Some(Parameter::Double(1.5))));
        assert_eq!(of("\"a\""), Ok(Some(Parameter::Text("a".into()))));
        assert_eq!(of("false"), Ok(Some(Parameter::Bool(false))));
        assert_eq!(of("null"), Ok(None));
        assert!(of("[1]").unwrap_err().contains("parameter \"p\" is not"));
    }
}
