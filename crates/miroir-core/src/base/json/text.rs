//! Strings between their JSON form and plain text.

use std::borrow::Cow;

use super::scan::Scanner;

/// The text of a raw JSON string, quotes included. `None` when it is not exactly one string in UTF-8.
pub fn unquote(raw_string: &[u8]) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(raw_string, 0);
    if scanner.peek() != Some(b'"') || scanner.string().is_err() || scanner.pos != raw_string.len() {
        return None;
    }
    let inner = raw_string.get(1..raw_string.len() - 1)?;
    let inner = std::str::from_utf8(inner).ok()?;
    Some(unescape(inner))
}

/// Appends `text` as a JSON string, with quotes.
pub fn quote_into(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(copied..index).unwrap_or_default());
        copied = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    out.push(b'"');
}

/// Resolves the escapes of a string's inside. What is not a valid escape becomes U+FFFD; scanned strings hold none.
pub(super) fn unescape(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escaped.chars();
        let mut high = None;
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => high = Some(hex(&mut chars)),
            Some(other) => text.push(other),
            None => text.push(char::REPLACEMENT_CHARACTER),
        }
        if let Some(unit) = high {
            let code = if (0xD800..0xDC00).contains(&unit) && chars.as_str().starts_with("\\u") {
                chars.nth(1);
                let low = hex(&mut chars);
                0x1_0000 + ((unit - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF)
            } else {
                unit
            };
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        rest = chars.as_str();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The value of the next four hexadecimal digits; a surrogate, which no caller takes for a character, when there are none.
fn hex(chars: &mut std::str::Chars<'_>) -> u32 {
    let mut value = 0;
    for _ in 0..4 {
        match chars.next().and_then(|c| c.to_digit(16)) {
            Some(digit) => value = value * 16 + digit,
            None => return 0xDFFF,
        }
    }
    value
}
