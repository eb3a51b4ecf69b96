//! Reading a search from a JSON body.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::{Name, Paging, Piece, SearchRequest, Unreadable};
use crate::base::json;
use crate::base::json::visit::key_text;
use crate::base::text::{SHOWN_VALUE, shown};

/// Meilisearch's `limit` and `hitsPerPage` when the client names none.
pub(crate) const DEFAULT_LIMIT: usize = 20;
/// Meilisearch's `hybrid.semanticRatio` when the client names none.
const DEFAULT_SEMANTIC_RATIO: f64 = 0.5;

impl SearchRequest {
    /// From the raw JSON body of a POST.
    ///
    /// # Errors
    /// [`Unreadable`] when the body is not a JSON object (an empty one included) or a parameter that Miroir interprets
    /// has a type that Meilisearch refuses. All else is left for the nodes to judge.
    pub fn from_body(raw: &[u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(raw).map_err(|_| Unreadable)?;
        Self::from_text(raw.to_vec())
    }

    /// From the text of a JSON object in UTF-8.
    pub(super) fn from_text(text: Vec<u8>) -> Result<Self, Unreadable> {
        let mut request = Self {
            members: Vec::with_capacity(16),
            query: None,
            paging: Paging::Offset { offset: 0, limit: DEFAULT_LIMIT },
            retrieve: None,
            highlight: None,
            crop: None,
            facets: Vec::new(),
            distinct: None,
            left_out: None,
            filter_fault: None,
            over_fetch: 1,
            semantic_ratio: DEFAULT_SEMANTIC_RATIO,
            threshold: None,
            is_sorted: false,
            is_semantic: false,
            use_network: false,
            personalizes: false,
            show_score: false,
            show_details: false,
            text: Vec::new(),
        };
        // On duplicates the last value counts, also for its type.
        for (name, member) in last_members(&text)? {
            let key = member.span.start + 1..member.span.start + 1 + member.key.len();
            let value = member.span.end - member.value.len()..member.span.end;
            request.members.push(Piece { name: Name::of(&name), key, value });
        }
        request.read_members(&text)?;
        request.text = text;
        Ok(request)
    }

    fn read_members(&mut self, text: &[u8]) -> Result<(), Unreadable> {
        let (mut offset, mut limit) = (0, DEFAULT_LIMIT);
        let (mut page, mut hits_per_page) = (None, None);
        for piece in &self.members {
            let raw = text.get(piece.value.clone()).unwrap_or_default();
            let name = key_text(text.get(piece.key.clone()).unwrap_or_default());
            match &*name {
                "q" => self.query = read(raw)?,
                "offset" => offset = read(raw)?,
                "limit" => limit = read(raw)?,
                "page" => page = read(raw)?,
                "hitsPerPage" => hits_per_page = read(raw)?,
                "attributesToRetrieve" => self.retrieve = read(raw)?,
                "attributesToHighlight" => self.highlight = read(raw)?,
                "attributesToCrop" => self.crop = read(raw)?,
                "facets" => self.facets = read::<Option<_>>(raw)?.unwrap_or_default(),
                "distinct" => self.distinct = read(raw)?,
                "useNetwork" => self.use_network = read::<Option<bool>>(raw)?.unwrap_or_default(),
                "personalize" => self.personalizes = raw != b"null",
                "showRankingScore" => self.show_score = read(raw)?,
                "showRankingScoreDetails" => self.show_details = read(raw)?,
                "showPerformanceDetails" => drop(read::<bool>(raw)?),
                "filter" if raw != b"null" => self.filter_fault = filter_fault(raw),
                "rankingScoreThreshold" => self.threshold = threshold(raw)?,
                "sort" => self.is_sorted = read::<Option<Vec<String>>>(raw)?.is_some_and(|sort| !sort.is_empty()),
                "vector" | "media" => self.is_semantic |= raw != b"null",
                "hybrid" => {
                    self.is_semantic |= raw != b"null";
                    self.semantic_ratio = semantic_ratio(raw).unwrap_or(DEFAULT_SEMANTIC_RATIO);
                }
                _ => {}
            }
        }
        self.paging = match (page, hits_per_page) {
            (None, None) => Paging::Offset { offset, limit },
            (page, hits_per_page) => {
                Paging::Page { page: page.unwrap_or(1), hits_per_page: hits_per_page.unwrap_or(DEFAULT_LIMIT) }
            }
        };
        Ok(())
    }
}

impl Name {
    fn of(key: &str) -> Self {
        match key {
            "offset" | "limit" | "page" | "hitsPerPage" => Self::Paging,
            "filter" => Self::Filter,
            "attributesToRetrieve" => Self::Retrieve,
            "attributesToHighlight" => Self::Highlight,
            "attributesToCrop" => Self::Crop,
            "rankingScoreThreshold" => Self::Threshold,
            "attributesToSearchOn" => Self::SearchOn,
            "showRankingScore" | "showRankingScoreDetails" => Self::Show,
            _ => Self::Other,
        }
    }
}

/// The members of an object, of those given twice the last.
pub(crate) fn last_members(raw: &[u8]) -> Result<Vec<(Cow<'_, str>, json::Member<'_>)>, Unreadable> {
    json::last_members(raw).map_err(|_| Unreadable)
}

/// A value of a type that Miroir interprets.
pub(crate) fn read<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(raw).map_err(|_| Unreadable)
}

/// The `semanticRatio` of a raw `hybrid`, if there is one that can be read.
fn semantic_ratio(raw: &[u8]) -> Option<f64> {
    let ratio = json::get(raw, "semanticRatio").ok()??;
    serde_json::from_slice(ratio).ok()
}

/// A score between 0 and 1, or none.
fn threshold(raw: &[u8]) -> Result<Option<f64>, Unreadable> {
    match read::<Option<f64>>(raw)? {
        Some(score) if !(0.0..=1.0).contains(&score) => Err(Unreadable),
        threshold => Ok(threshold),
    }
}

/// What is wrong with the shape of a raw filter, in Meilisearch's words, when it is neither a string nor an array of which
/// each element is a string or an array of strings. Checked here because a filter of another shape, put into an array,
/// could come to mean something.
pub(crate) fn filter_fault(raw: &[u8]) -> Option<String> {
    fn is_string(raw: &[u8]) -> bool {
        raw.first() == Some(&b'"')
    }
    let fault = |expected: &str, found: &[u8]| {
        let compact = serde_json::from_slice::<serde_json::Value>(found).map(|value| value.to_string());
        let found = compact.unwrap_or_else(|_| String::from_utf8_lossy(found).into_owned());
        let found = shown(&found, SHOWN_VALUE);
        Some(format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`."))
    };
    if is_string(raw) {
        return None;
    }
    let Ok(clauses) = json::elements(raw) else { return fault("String, Array", raw) };
    for clause in clauses {
        let Ok(clause) = clause else { return fault("String, Array", raw) };
        if is_string(clause) {
            continue;
        }
        let Ok(parts) = json::elements(clause) else { return fault("String, [String]", clause) };
        for part in parts {
            match part {
                Ok(part) if is_string(part) => {}
                Ok(part) => return fault("String", part),
                Err(_) => return fault("String, [String]", clause),
            }
        }
    }
    None
}
