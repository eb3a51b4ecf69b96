//! Walking an object whose values the caller reads or skips as they come, so that each byte is looked at once.

use std::borrow::Cow;

pub(crate) use super::at_most;
use super::{MAX_DEPTH, Scanner, SyntaxError, unquote};

/// Moves past the object that starts here. `visit` is given the raw key of each member and where the member starts,
/// stands at its value and has to move past it.
#[inline]
pub(crate) fn each_member<'a>(
    scanner: &mut Scanner<'a>,
    mut visit: impl FnMut(&mut Scanner<'a>, &'a [u8], usize) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    scanner.expect(b'{', "expected an object")?;
    scanner.space();
    if scanner.peek() == Some(b'}') {
        scanner.pos += 1;
        return Ok(());
    }
    loop {
        let start = scanner.pos;
        if scanner.peek() != Some(b'"') {
            return scanner.error("key must be a string");
        }
        scanner.string()?;
        let key = at_most(scanner.text, start + 1, scanner.pos - 1);
        scanner.space();
        scanner.expect(b':', "expected `:`")?;
        scanner.space();
        visit(scanner, key, start)?;
        scanner.space();
        match scanner.peek() {
            Some(b',') => {
                scanner.pos += 1;
                scanner.space();
            }
            Some(b'}') => {
                scanner.pos += 1;
                return Ok(());
            }
            _ => return scanner.error("expected `,` or `}`"),
        }
    }
}

/// Moves past a value and returns it.
#[inline]
pub(crate) fn take_value<'a>(scanner: &mut Scanner<'a>) -> Result<&'a [u8], SyntaxError> {
    let start = scanner.pos;
    scanner.value(MAX_DEPTH)?;
    Ok(at_most(scanner.text, start, scanner.pos))
}

/// A raw key, without its quotes, as text: borrowed for as long as the key is unless it has escapes. A key that is not
/// UTF-8 is empty.
pub(crate) fn key_text(key: &[u8]) -> Cow<'_, str> {
    if !key.contains(&b'\\') {
        return std::str::from_utf8(key).map(Cow::Borrowed).unwrap_or_default();
    }
    let quoted = [b"\"", key, b"\""].concat();
    unquote(&quoted).map(|text| Cow::Owned(text.into_owned())).unwrap_or_default()
}
