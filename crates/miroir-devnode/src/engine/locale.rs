//! Languages by their ISO 639-1 (`ja`) or ISO 639-3 (`jpn`) code. They are always shown in the longer form.

use std::convert::Infallible;

use deserr::{DeserializeError, Deserr, ErrorKind, IntoValue, ValuePointerRef, take_cf_content};
use milli_core::tokenizer::Language;

/// A language named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locale(pub Language);

/// The three-letter code of each two-letter code.
const SHORT: &[(&str, &str)] = &[
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("ka", "kat"),
    ("km", "khm"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("my", "mya"),
    ("nb", "nob"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("or", "ori"),
    ("pa", "pan"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tl", "tgl"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "zho"),
    ("zu", "zul"),
];

impl Locale {
    /// The language of `code`.
    pub fn from_code(code: &str) -> Option<Self> {
        let long = SHORT.iter().find(|(short, _)| *short == code).map_or(code, |(_, long)| *long);
        Language::from_code(long).map(Self)
    }
}

impl<E: DeserializeError> Deserr<E> for Locale {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef<'_>) -> Result<Self, E> {
        let code = String::deserialize_from_value(value, location)?;
        Self::from_code(&code).ok_or_else(|| {
            let codes: Vec<_> = SHORT.iter().flat_map(|(a, b)| [*a, *b]).map(|code| format!("`{code}`")).collect();
            let msg = format!("Unknown value `{code}`, expected one of {}", codes.join(", "));
            take_cf_content(E::error::<Infallible>(None, ErrorKind::Unexpected { msg }, location))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_code_names_a_language() {
        for (short, long) in SHORT {
            assert_eq!(Locale::from_code(short).map(|locale| locale.0.code()), Some(*long), "{short}");
        }
        assert_eq!(Locale::from_code("xx"), None);
    }
}
