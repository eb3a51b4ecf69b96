//! The words of a filter expression, as Meilisearch tells them apart.
//!
//! Invariant: whatever an expression is, its words are found in time that grows with its length, and none of them is
//! longer than it. An expression that is no filter has words too: a node says what is wrong with it.

use std::borrow::Cow;
use std::ops::Range;

/// One word of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Where it stands in the expression, quotes included.
    pub span: Range<usize>,
}

/// What a word can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `AND`, `IN`, `EXISTS` and their like.
    Keyword(&'a str),
    /// An attribute or a value without quotes.
    Word(&'a str),
    /// An attribute or a value in quotes, which are taken off.
    Quoted(Cow<'a, str>),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Comparison,
    /// `(`, `)`, `[`, `]` or `,`.
    Mark(char),
    /// Anything else.
    Other,
}

const KEYWORDS: [&str; 12] =
    ["AND", "OR", "IN", "NOT", "TO", "EXISTS", "IS", "NULL", "EMPTY", "CONTAINS", "STARTS", "WITH"];

/// Walks through an expression.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// From the expression's first word.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text up to the closing quote, or to the end where there is none, and how long that is with both quotes.
    fn quoted(&self, quote: char) -> (&'a str, usize) {
        let inner = self.rest().get(1..).unwrap_or_default();
        let mut characters = inner.char_indices();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                return (inner.get(..at).unwrap_or_default(), at + 2);
            }
            if character == '\\' {
                characters.next();
            }
        }
        (inner, inner.len() + 1)
    }
}

fn is_of_a_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

/// The text that a word with escapes stands for; one that cannot be read stands for itself.
fn unescaped(text: &str) -> Cow<'_, str> {
    match text.contains('\\').then(|| unescaper::unescape(text)) {
        Some(Ok(text)) => Cow::Owned(text),
        Some(Err(_)) | None => Cow::Borrowed(text),
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        let rest = self.rest();
        let first = rest.chars().next()?;
        let (kind, length) = match first {
            '\'' | '"' => {
                let (inner, length) = self.quoted(first);
                (Kind::Quoted(unescaped(inner)), length)
            }
            '(' | ')' | '[' | ']' | ',' => (Kind::Mark(first), 1),
            '=' => (Kind::Comparison, 1),
            '!' | '<' | '>' if rest.get(1..2) == Some("=") => (Kind::Comparison, 2),
            '<' | '>' => (Kind::Comparison, 1),
            _ if is_of_a_word(first) => {
                let length = rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                (if KEYWORDS.contains(&word) { Kind::Keyword(word) } else { Kind::Word(word) }, length)
            }
            _ => (Kind::Other, first.len_utf8()),
        };
        let span = self.at..self.at + length;
        self.at = span.end;
        Some(Token { kind, span })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        Lexer::new(text).map(|token| token.kind).collect()
    }

    #[test]
    fn words_quotes_and_marks_are_told_apart() {
        use Kind::{Comparison, Keyword, Mark, Quoted, Word};
        let quoted = |text: &'static str| Quoted(Cow::Borrowed(text));
        assert_eq!(
            kinds(r#"a.b >= 1.5 AND "c d" IN [x-y, 'it\'s', "\u{5f}m"]"#),
            [
                Word("a.b"),
                Comparison,
                Word("1.5"),
                Keyword("AND"),
                quoted("c d"),
                Keyword("IN"),
                Mark('['),
                Word("x-y"),
                Mark(','),
                quoted("it's"),
                Mark(','),
                quoted("_m"),
                Mark(']'),
            ]
        );
        assert_eq!(kinds("été=ok"), [Word("été"), Comparison, Word("ok")]);
        assert_eq!(kinds("'open"), [quoted("open")]);
        assert_eq!(kinds(""), []);
    }

    proptest! {
        #[test]
        fn every_text_has_words_that_follow_one_another(text in r#"[a_\\'"(),=<>! \u{e9}-]{0,30}"#) {
            let mut end = 0;
            for token in Lexer::new(&text) {
                prop_assert!(token.span.start >= end && token.span.end > token.span.start);
                prop_assert!(text.get(token.span.clone()).is_some());
                end = token.span.end;
            }
            prop_assert!(text.get(end..).is_some_and(|rest| rest.trim().is_empty()));
        }
    }
}
