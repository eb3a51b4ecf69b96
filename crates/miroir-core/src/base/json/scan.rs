//! The scanner: where a JSON value ends, and whether it is one.

use std::ops::Range;

use thiserror::Error;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 256;

const WORDS: usize = MAX_DEPTH / 64;

/// Where and why text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{reason} at byte {offset}")]
pub struct SyntaxError {
    /// Bytes before the one that cannot stand there, from the start of the text given.
    pub offset: usize,
    /// What was expected or found, for people.
    pub reason: &'static str,
}

/// Validates the one JSON value that starts at `pos`, after optional whitespace, and returns its bytes' range.
/// What follows the value is not looked at.
pub fn value_range(text: &[u8], pos: usize) -> Result<Range<usize>, SyntaxError> {
    let mut scanner = Scanner::new(text, pos);
    scanner.space();
    let start = scanner.pos;
    scanner.value(MAX_DEPTH)?;
    Ok(start..scanner.pos)
}

/// The error of a value that nests deeper than it may.
const TOO_DEEP: &str = "recursion limit exceeded";

const LONE_SURROGATE: &str = "lone leading surrogate in hex escape";

/// `text[from..to]`, or nothing when there is no such range.
#[inline]
pub(crate) fn at_most(text: &[u8], from: usize, to: usize) -> &[u8] {
    text.get(from..to).unwrap_or_default()
}

/// A position in a text that moves over one token or value at a time.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// The next byte to look at; may be the text's length.
    pub pos: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    pub fn new(text: &'a [u8], pos: usize) -> Self {
        Self { text, pos }
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    #[cold]
    pub fn error<T>(&self, reason: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { offset: self.pos.min(self.text.len()), reason })
    }

    /// Skips whitespace.
    #[inline]
    pub fn space(&mut self) {
        // Compact JSON has none and pretty JSON has a line break and a run of spaces.
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    /// Moves past `byte`, or fails with `reason`.
    #[inline]
    pub fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), SyntaxError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            self.error(reason)
        }
    }

    /// Moves past one value, which starts here and nests at most `limit` deep.
    #[inline]
    pub fn value(&mut self, limit: usize) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'{' | b'[') => self.container(limit.min(MAX_DEPTH)),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => self.error("expected value"),
            None => self.error("EOF while parsing a value"),
        }
    }

    fn literal(&mut self, name: &[u8]) -> Result<(), SyntaxError> {
        if at_most(self.text, self.pos, self.pos + name.len()) == name {
            self.pos += name.len();
            Ok(())
        } else {
            self.error("expected ident")
        }
    }

    /// Moves past an array or object. Keeps which of both each open level is as one bit, so that no input can exhaust
    /// the stack.
    fn container(&mut self, limit: usize) -> Result<(), SyntaxError> {
        let mut open = Levels::default();
        loop {
            // A value starts here: open containers until there is something inside to skip.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open.depth >= limit {
                        return self.error(TOO_DEEP);
                    }
                    let object = bracket == b'{';
                    open.push(object);
                    self.pos += 1;
                    self.space();
                    if self.peek() == Some(if object { b'}' } else { b']' }) {
                        self.pos += 1;
                        open.pop();
                    } else {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value ended here: close containers until another value follows.
            loop {
                if open.depth == 0 {
                    return Ok(());
                }
                self.space();
                let object = open.top_is_object();
                match self.peek() {
                    Some(b',') => {
                        self.pos += 1;
                        self.space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.pos += 1,
                    Some(b']') if !object => self.pos += 1,
                    Some(_) if object => return self.error("expected `,` or `}`"),
                    Some(_) => return self.error("expected `,` or `]`"),
                    None if object => return self.error("EOF while parsing an object"),
                    None => return self.error("EOF while parsing a list"),
                }
                open.pop();
            }
        }
    }

    /// Moves past a key, its colon and the whitespace around them.
    #[inline]
    pub fn key(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"') => _ = self.string()?,
            Some(_) => return self.error("key must be a string"),
            None => return self.error("EOF while parsing an object"),
        }
        self.space();
        self.expect(b':', "expected `:`")?;
        self.space();
        Ok(())
    }

    /// Moves past a string, which starts here with its quote. Returns whether it holds an escape.
    #[inline]
    pub fn string(&mut self) -> Result<bool, SyntaxError> {
        self.pos += 1;
        let mut escaped = false;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    return self.error("control character (\\u0000-\\u001F) found while parsing a string");
                }
                None => return self.error("EOF while parsing a string"),
            }
        }
    }

    /// Moves to the next byte that is not plain text inside a string: a quote, a backslash or a control character.
    #[inline]
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let rest = self.text.get(self.pos..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            // The high bit of each byte that is zero, respectively below 0x20. A borrow can only set bits above the
            // first true one, so that the lowest bit set is right.
            let quote = word ^ (ONES * b'"' as u64);
            let backslash = word ^ (ONES * b'\\' as u64);
            let found = (quote.wrapping_sub(ONES) & !quote)
                | (backslash.wrapping_sub(ONES) & !backslash)
                | (word.wrapping_sub(ONES * 0x20) & !word);
            let found = found & HIGH;
            if found != 0 {
                self.pos += index * 8 + (found.trailing_zeros() / 8) as usize;
                return;
            }
        }
        let plain = tail.iter().take_while(|&&b| b != b'"' && b != b'\\' && b >= 0x20).count();
        self.pos += words.len() * 8 + plain;
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        self.pos += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 1;
                Ok(())
            }
            Some(b'u') => {
                self.pos += 1;
                match self.hex()? {
                    0xDC00..=0xDFFF => self.error(LONE_SURROGATE),
                    0xD800..=0xDBFF => {
                        if at_most(self.text, self.pos, self.pos + 2) != b"\\u" {
                            return self.error("unexpected end of hex escape");
                        }
                        self.pos += 2;
                        match self.hex()? {
                            0xDC00..=0xDFFF => Ok(()),
                            _ => self.error(LONE_SURROGATE),
                        }
                    }
                    _ => Ok(()),
                }
            }
            Some(_) => self.error("invalid escape"),
            None => self.error("EOF while parsing a string"),
        }
    }

    /// Moves past four hexadecimal digits and returns their value.
    fn hex(&mut self) -> Result<u32, SyntaxError> {
        let digits = at_most(self.text, self.pos, self.pos + 4);
        if digits.len() < 4 {
            return self.error("EOF while parsing a string");
        }
        let mut value = 0;
        for digit in digits {
            match (*digit as char).to_digit(16) {
                Some(digit) => value = value * 16 + digit,
                None => return self.error("invalid escape"),
            }
        }
        self.pos += 4;
        Ok(value)
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let start = self.pos;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        if self.peek() == Some(b'0') {
            self.pos += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.error("invalid number");
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.pos += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.pos += 1;
            }
            self.digits()?;
        }
        if exponent || self.pos - start > f64::MAX_10_EXP as usize { self.finite(start) } else { Ok(()) }
    }

    /// Fails unless the number from `start` to here fits a float.
    #[cold]
    fn finite(&mut self, start: usize) -> Result<(), SyntaxError> {
        let number = std::str::from_utf8(at_most(self.text, start, self.pos)).ok().and_then(|n| n.parse::<f64>().ok());
        if number.is_some_and(f64::is_finite) { Ok(()) } else { self.error("number out of range") }
    }

    /// Moves past one or more decimal digits.
    #[inline]
    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.pos;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        if self.pos == start {
            return match self.peek() {
                Some(_) => self.error("invalid number"),
                None => self.error("EOF while parsing a value"),
            };
        }
        Ok(())
    }
}

/// The open arrays and objects, one bit each. Invariant: `depth <= MAX_DEPTH`, kept by the one caller.
#[derive(Default)]
struct Levels {
    objects: [u64; WORDS],
    depth: usize,
}

impl Levels {
    #[inline]
    fn push(&mut self, object: bool) {
        if let Some(word) = self.objects.get_mut(self.depth / 64) {
            let bit = 1u64 << (self.depth % 64);
            if object { *word |= bit } else { *word &= !bit }
        }
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
    }

    #[inline]
    fn top_is_object(&self) -> bool {
        let top = self.depth - 1;
        self.objects.get(top / 64).is_some_and(|word| word >> (top % 64) & 1 == 1)
    }
}
