//! The members of an object and the elements of an array, as slices.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::scan::{MAX_DEPTH, Scanner, SyntaxError, at_most};
use super::text::unescape;

/// One member of an object.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Without its quotes, still escaped.
    pub key: &'a [u8],
    /// The raw value.
    pub value: &'a [u8],
    /// `"key":value` in the text walked over, without commas and the whitespace around them.
    pub span: Range<usize>,
}

impl Member<'_> {
    /// Whether the key, its escapes resolved, is `name`.
    #[inline]
    pub fn key_is(&self, name: &str) -> bool {
        // An escape is always longer than what it stands for, hence a key shorter than the name cannot be it.
        if self.key.len() < name.len() || (self.key.len() == name.len() && self.key != name.as_bytes()) {
            return false;
        }
        let escaped = memchr::memchr(b'\\', self.key).is_some();
        if escaped { self.key_text() == name } else { self.key.len() == name.len() }
    }

    /// The key with its escapes resolved. Bytes that are not UTF-8 become U+FFFD.
    pub fn key_text(&self) -> Cow<'_, str> {
        key_text(self.key)
    }
}

/// The members of an object in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    depth: usize,
    state: State,
    /// Whether only whitespace may follow the object.
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind the opening bracket.
    First,
    /// Behind a member or element.
    Next,
    Done,
}

/// The members of a raw object, in order. Each is validated when it is reached; the object is valid as a whole when the
/// iterator ended without an error.
pub fn members(object: &[u8]) -> Result<Members<'_>, SyntaxError> {
    let mut members = Members::at(object, 0, MAX_DEPTH)?;
    members.alone = true;
    Ok(members)
}

impl<'a> Members<'a> {
    /// The members of the object that starts at `pos`, after optional whitespace, and nests at most `depth` deep.
    /// What follows the object is not looked at.
    pub(crate) fn at(text: &'a [u8], pos: usize, depth: usize) -> Result<Self, SyntaxError> {
        let mut scanner = Scanner::new(text, pos);
        scanner.space();
        scanner.expect(b'{', "expected an object")?;
        Ok(Self { scanner, depth: depth.saturating_sub(1), state: State::First, alone: false })
    }

    /// Where the walk stands: behind the object once the iterator ended without an error.
    pub(crate) fn end(&self) -> usize {
        self.scanner.pos
    }

    /// The next member, and whether its key holds an escape. Must not be called again after an error.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Option<(Member<'a>, bool)>, SyntaxError> {
        let scanner = &mut self.scanner;
        scanner.space();
        match (scanner.peek(), self.state) {
            (_, State::Done) => return Ok(None),
            (Some(b'}'), State::First | State::Next) => {
                scanner.pos += 1;
                self.state = State::Done;
                return if self.alone { finish(scanner).map(|()| None) } else { Ok(None) };
            }
            (Some(b','), State::Next) => {
                scanner.pos += 1;
                scanner.space();
            }
            (Some(_), State::First) => {}
            (Some(_), State::Next) => return scanner.error("expected `,` or `}`"),
            (None, State::First | State::Next) => {
                return scanner.error("EOF while parsing an object");
            }
        }
        self.state = State::Next;
        let start = scanner.pos;
        let escaped = match scanner.peek() {
            Some(b'"') => scanner.string()?,
            Some(_) => return scanner.error("key must be a string"),
            None => return scanner.error("EOF while parsing an object"),
        };
        let key = at_most(scanner.text, start + 1, scanner.pos - 1);
        scanner.space();
        scanner.expect(b':', "expected `:`")?;
        scanner.space();
        let from = scanner.pos;
        scanner.value(self.depth)?;
        let value = at_most(scanner.text, from, scanner.pos);
        Ok(Some((Member { key, value, span: start..scanner.pos }, escaped)))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, SyntaxError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.state = State::Done;
        }
        step.map(|step| step.map(|(member, _)| member)).transpose()
    }
}

fn finish(scanner: &mut Scanner<'_>) -> Result<(), SyntaxError> {
    scanner.space();
    if scanner.pos < scanner.text.len() { scanner.error("trailing characters") } else { Ok(()) }
}

/// The elements of an array in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    state: State,
}

/// The raw elements of a raw array, in order. Each is validated when it is reached; the array is valid as a whole when
/// the iterator ended without an error.
pub fn elements(array: &[u8]) -> Result<Elements<'_>, SyntaxError> {
    let mut scanner = Scanner::new(array, 0);
    scanner.space();
    scanner.expect(b'[', "expected an array")?;
    Ok(Elements { scanner, state: State::First })
}

impl<'a> Elements<'a> {
    fn step(&mut self) -> Result<Option<&'a [u8]>, SyntaxError> {
        let scanner = &mut self.scanner;
        scanner.space();
        match (scanner.peek(), self.state) {
            (_, State::Done) => return Ok(None),
            (Some(b']'), State::First | State::Next) => {
                scanner.pos += 1;
                self.state = State::Done;
                return finish(scanner).map(|()| None);
            }
            (Some(b','), State::Next) => {
                scanner.pos += 1;
                scanner.space();
            }
            (Some(_), State::First) => {}
            (Some(_), State::Next) => return scanner.error("expected `,` or `]`"),
            (None, State::First | State::Next) => return scanner.error("EOF while parsing a list"),
        }
        self.state = State::Next;
        let start = scanner.pos;
        scanner.value(MAX_DEPTH - 1)?;
        Ok(Some(at_most(scanner.text, start, scanner.pos)))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], SyntaxError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.state = State::Done;
        }
        step.transpose()
    }
}

/// The raw value of the member `key` of a raw object. On duplicates the last one wins, as everywhere in JSON practice.
/// Validates the whole object.
pub fn get<'a>(object: &'a [u8], key: &str) -> Result<Option<&'a [u8]>, SyntaxError> {
    let mut found = None;
    for member in members(object)? {
        let member = member?;
        if member.key_is(key) {
            found = Some(member.value);
        }
    }
    Ok(found)
}

/// The members of a raw object with their names, of those given several times the last, in the order of those. This is
/// how Meilisearch reads an object. Validates the whole object.
pub fn last_members(object: &[u8]) -> Result<Vec<(Cow<'_, str>, Member<'_>)>, SyntaxError> {
    let mut all: Vec<(Cow<'_, str>, Member<'_>)> = Vec::new();
    for member in members(object)? {
        let member = member?;
        all.push((key_text(member.key), member));
    }
    // Few members are looked through; of many, which somebody else chose, each is looked up.
    const FEW: usize = 16;
    if all.len() <= FEW {
        let mut at = 0;
        while let Some((name, _)) = all.get(at) {
            if all.iter().skip(at + 1).any(|(later, _)| later == name) {
                all.remove(at);
            } else {
                at += 1;
            }
        }
        return Ok(all);
    }
    let last: HashMap<&str, usize> = all.iter().enumerate().map(|(position, (name, _))| (&**name, position)).collect();
    let is_last: Vec<bool> =
        all.iter().enumerate().map(|(position, (name, _))| last.get(&**name) == Some(&position)).collect();
    let mut is_last = is_last.into_iter();
    all.retain(|_| is_last.next() == Some(true));
    Ok(all)
}

fn key_text(key: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(key) {
        Ok(key) => unescape(key),
        Err(_) => Cow::Owned(unescape(&String::from_utf8_lossy(key)).into_owned()),
    }
}

/// Appends `object` to `out` without the top-level members for which `drop` says true: commas are right afterwards, the
/// rest is the same byte for byte. Returns whether anything was dropped. On an error `out` is as before.
pub fn copy_without(
    object: &[u8],
    out: &mut Vec<u8>,
    mut drop: impl FnMut(&Member<'_>) -> bool,
) -> Result<bool, SyntaxError> {
    let before = out.len();
    match copy_kept(object, out, &mut drop) {
        Ok(dropped) => Ok(dropped),
        Err(error) => {
            out.truncate(before);
            Err(error)
        }
    }
}

fn copy_kept(
    object: &[u8],
    out: &mut Vec<u8>,
    drop: &mut impl FnMut(&Member<'_>) -> bool,
) -> Result<bool, SyntaxError> {
    // Invariant: bytes before `done` are copied or dropped; `kept` says whether a member before `done` or open was kept.
    let (mut done, mut last, mut kept, mut dropped) = (0, 0, false, false);
    for member in members(object)? {
        let member = member?;
        let unwanted = drop(&member);
        if unwanted && kept {
            // Goes with the comma before it.
            out.extend_from_slice(at_most(object, done, last));
            done = member.span.end;
        } else if unwanted {
            // Goes with the comma behind it, if another member follows.
            if !dropped {
                out.extend_from_slice(at_most(object, done, member.span.start));
            }
            done = member.span.end;
        } else if !kept {
            kept = true;
            if dropped {
                done = member.span.start;
            }
        }
        dropped |= unwanted;
        last = member.span.end;
    }
    out.extend_from_slice(at_most(object, done, object.len()));
    Ok(dropped)
}
