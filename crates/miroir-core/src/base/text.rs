//! Text of others in texts of ours: messages and logs show as much of it as helps, and no more.

/// What is shown of a value that somebody sent.
pub const SHOWN_VALUE: usize = 512;

/// `text` when it has at most so many bytes, else its beginning, and how much there was.
pub fn shown(text: &str, bytes: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= bytes {
        return text.into();
    }
    let kept = text.get(..text.floor_char_boundary(bytes)).unwrap_or_default();
    format!("{kept}… ({} bytes)", text.len()).into()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_text_is_shown_whole_or_its_beginning_and_its_length() {
        assert_eq!(shown("short", 5), "short");
        assert_eq!(shown("longer", 5), "longe… (6 bytes)");
        assert_eq!(shown("éé", 3), "é… (4 bytes)");
        assert_eq!(shown("é", 1), "… (2 bytes)");
        assert!(shown(&"x".repeat(1 << 20), 200).len() < 230);
    }
}
