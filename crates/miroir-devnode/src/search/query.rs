//! The search request: every parameter, its default and its error code.

use std::collections::{BTreeSet, HashSet};

use milli_core::{AscDesc, TermsMatchingStrategy};
use serde_json::{Map, Value};

use crate::engine::locale::Locale;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;

/// Hits returned when the request does not say.
pub const DEFAULT_LIMIT: usize = 20;

/// What to search, and how to show it.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The words; none for every document.
    pub q: Option<String>,
    /// Hits to skip.
    pub offset: usize,
    /// Hits to return.
    pub limit: usize,
    /// The page, from 1; asks for exhaustive totals.
    pub page: Option<usize>,
    /// Hits on a page; asks for exhaustive totals.
    pub hits_per_page: Option<usize>,
    /// What documents to consider.
    pub filter: Option<Value>,
    /// The order asked for.
    pub sort: Option<Vec<String>>,
    /// At most one hit for each value of this attribute.
    pub distinct: Option<String>,
    /// Facets to count.
    pub facets: Option<Vec<String>>,
    /// What to do when not all words match.
    pub matching_strategy: TermsMatchingStrategy,
    /// Attributes to search in.
    pub attributes_to_search_on: Option<Vec<String>>,
    /// Hits that score less are left out.
    pub ranking_score_threshold: Option<f64>,
    /// Languages of the query.
    pub locales: Option<Vec<Locale>>,
    /// The query's embedding.
    pub vector: Option<Vec<f32>>,
    /// Search by meaning.
    pub hybrid: Option<Hybrid>,
    /// How hits are shown.
    pub show: Presentation,
}

/// Search by meaning, alone or mixed with words.
#[derive(Debug, Clone)]
pub struct Hybrid {
    /// The embedder.
    pub embedder: String,
    /// From 0, words only, to 1, meaning only.
    pub semantic_ratio: f32,
}

/// How hits are shown.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// Attributes to return; all when absent.
    pub attributes_to_retrieve: Option<BTreeSet<String>>,
    /// Whether `_vectors` are returned.
    pub retrieve_vectors: bool,
    /// Attributes to crop, `name` or `name:length`.
    pub attributes_to_crop: Vec<String>,
    /// Words that a crop keeps.
    pub crop_length: usize,
    /// What marks a crop.
    pub crop_marker: String,
    /// Attributes in which to highlight matches.
    pub attributes_to_highlight: HashSet<String>,
    /// What precedes a match.
    pub highlight_pre_tag: String,
    /// What follows a match.
    pub highlight_post_tag: String,
    /// Whether positions of matches are returned.
    pub show_matches_position: bool,
    /// Whether the score is returned.
    pub show_ranking_score: bool,
    /// Whether the score's parts are returned.
    pub show_ranking_score_details: bool,
}

impl SearchQuery {
    /// Whether pages, and so exhaustive totals, are asked for.
    pub const fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }

    /// Reads every search parameter from `fields`.
    ///
    /// # Errors
    /// The first wrong parameter's code.
    pub fn read(fields: &mut Fields) -> ApiResult<Self> {
        let vector = fields.optional("vector", "invalid_search_vector")?;
        let hybrid = match fields.optional::<Value>("hybrid", "invalid_search_hybrid_query")? {
            Some(hybrid) => Some(Hybrid::read(hybrid)?),
            None => None,
        };
        refuse_personalized(fields, "personalize")?;
        refuse_personalized(fields, "personalizeUserContext")?;
        let query = Self {
            q: fields.optional("q", "invalid_search_q")?,
            vector,
            hybrid,
            offset: fields.or("offset", "invalid_search_offset", 0)?,
            limit: fields.or("limit", "invalid_search_limit", DEFAULT_LIMIT)?,
            page: fields.optional("page", "invalid_search_page")?,
            hits_per_page: fields.optional("hitsPerPage", "invalid_search_hits_per_page")?,
            show: Presentation::read(fields)?,
            filter: fields.optional("filter", "invalid_search_filter")?,
            sort: fields.optional("sort", "invalid_search_sort")?,
            distinct: fields.optional("distinct", "invalid_search_distinct")?,
            facets: fields.optional("facets", "invalid_search_facets")?,
            matching_strategy: matching_strategy(fields)?,
            attributes_to_search_on: fields
                .optional("attributesToSearchOn", "invalid_search_attributes_to_search_on")?,
            ranking_score_threshold: fields
                .optional("rankingScoreThreshold", "invalid_search_ranking_score_threshold")?,
            locales: fields.optional("locales", "invalid_search_locales")?,
        };
        match query.ranking_score_threshold {
            Some(threshold) if !(0.0..=1.0).contains(&threshold) => Err(ApiError::new(
                "invalid_search_ranking_score_threshold",
                "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is invalid, \
                 expected a float between `0.0` and `1.0`.",
            )),
            Some(_) | None => Ok(query),
        }
    }

    /// Reads the parameters of a request for similar documents besides its own, each with its code there.
    ///
    /// # Errors
    /// The first wrong parameter's code.
    pub fn similar(fields: &mut Fields) -> ApiResult<Self> {
        const SHOWN: [(&str, &str); 8] = [
            ("offset", "invalid_similar_offset"),
            ("limit", "invalid_similar_limit"),
            ("filter", "invalid_similar_filter"),
            ("attributesToRetrieve", "invalid_similar_attributes_to_retrieve"),
            ("retrieveVectors", "invalid_similar_retrieve_vectors"),
            ("showRankingScore", "invalid_similar_show_ranking_score"),
            ("showRankingScoreDetails", "invalid_similar_show_ranking_score_details"),
            ("rankingScoreThreshold", "invalid_similar_ranking_score_threshold"),
        ];
        let _: bool = fields.or("showPerformanceDetails", "invalid_similar_show_performance_details", false)?;
        let mut members = Map::new();
        for (name, code) in SHOWN {
            if let Some(value) = fields.take::<Value>(name, code)? {
                members.insert(name.to_owned(), value);
            }
        }
        Self::read(&mut Fields::new(members)).map_err(|error| {
            let code = error.code.replacen("invalid_search_", "invalid_similar_", 1);
            error.with_code(&code)
        })
    }

    /// Parses the sort parameter.
    ///
    /// # Errors
    /// `invalid_search_sort`.
    pub fn sort_criteria(&self) -> ApiResult<Option<Vec<AscDesc>>> {
        let Some(sort) = &self.sort else { return Ok(None) };
        let parse = |rule: &String| {
            rule.parse::<AscDesc>().map_err(|error| {
                let error = milli_core::SortError::from(error);
                ApiError::from(milli_core::Error::from(error))
            })
        };
        sort.iter().map(parse).collect::<ApiResult<_>>().map(Some)
    }
}

/// Reads `matchingStrategy`.
///
/// # Errors
/// `invalid_search_matching_strategy`.
fn matching_strategy(fields: &mut Fields) -> ApiResult<TermsMatchingStrategy> {
    const CODE: &str = "invalid_search_matching_strategy";
    match fields.take::<String>("matchingStrategy", CODE)?.as_deref() {
        None | Some("last") => Ok(TermsMatchingStrategy::Last),
        Some("all") => Ok(TermsMatchingStrategy::All),
        Some("frequency") => Ok(TermsMatchingStrategy::Frequency),
        Some(other) => Err(ApiError::new(
            CODE,
            format!("Unknown value `{other}` at `.matchingStrategy`: expected one of `last`, `all`, `frequency`"),
        )),
    }
}

impl Hybrid {
    fn read(value: Value) -> ApiResult<Self> {
        const CODE: &str = "invalid_search_hybrid_query";
        let Value::Object(map) = value else {
            return Err(ApiError::new(
                CODE,
                format!("Invalid value type at `.hybrid`: expected an object, but found: `{value}`"),
            ));
        };
        let mut fields = Fields::new(map);
        let embedder = fields.take("embedder", "invalid_search_embedder")?;
        let semantic_ratio = fields.or("semanticRatio", "invalid_search_semantic_ratio", 0.5_f32)?;
        fields.finish().map_err(|error| error.with_code(CODE))?;
        let Some(embedder) = embedder else {
            return Err(ApiError::new(CODE, "Missing field `embedder` inside `.hybrid`"));
        };
        if !(0.0..=1.0).contains(&semantic_ratio) {
            return Err(ApiError::new(
                "invalid_search_semantic_ratio",
                "Invalid value at `.hybrid.semanticRatio`: the value of `semanticRatio` is invalid, expected a float \
                 between `0.0` and `1.0`.",
            ));
        }
        Ok(Self { embedder, semantic_ratio })
    }
}

impl Presentation {
    fn read(fields: &mut Fields) -> ApiResult<Self> {
        Ok(Self {
            attributes_to_retrieve: fields.optional("attributesToRetrieve", "invalid_search_attributes_to_retrieve")?,
            retrieve_vectors: fields.or("retrieveVectors", "invalid_search_retrieve_vectors", false)?,
            attributes_to_crop: fields
                .optional("attributesToCrop", "invalid_search_attributes_to_crop")?
                .unwrap_or_default(),
            crop_length: fields.or("cropLength", "invalid_search_crop_length", 10)?,
            attributes_to_highlight: fields
                .optional("attributesToHighlight", "invalid_search_attributes_to_highlight")?
                .unwrap_or_default(),
            show_matches_position: fields.or("showMatchesPosition", "invalid_search_show_matches_position", false)?,
            show_ranking_score: fields.or("showRankingScore", "invalid_search_show_ranking_score", false)?,
            show_ranking_score_details: fields.or(
                "showRankingScoreDetails",
                "invalid_search_show_ranking_score_details",
                false,
            )?,
            highlight_pre_tag: fields.or("highlightPreTag", "invalid_search_highlight_pre_tag", "<em>".to_owned())?,
            highlight_post_tag: fields.or(
                "highlightPostTag",
                "invalid_search_highlight_post_tag",
                "</em>".to_owned(),
            )?,
            crop_marker: fields.or("cropMarker", "invalid_search_crop_marker", "…".to_owned())?,
        })
    }
}

/// How the query string's text becomes the value that the request body would hold.
#[derive(Debug, Clone, Copy)]
pub enum FromText {
    /// As it is.
    Text,
    /// A whole number, a fraction, or a truth value.
    Scalar,
    /// A comma-separated list of texts; empty is the empty list.
    List,
    /// A comma-separated list of numbers.
    Numbers,
    /// JSON when it is an array, else text.
    Filter,
    /// A comma-separated list of `name:order`, where `_geoPoint(1,2):asc` is one item.
    Sort,
}

/// Reranks nothing, as a server that was not told of a service for it.
///
/// # Errors
/// `feature_not_enabled` where it is asked for by the member `name`.
pub fn refuse_personalized(fields: &mut Fields, name: &'static str) -> ApiResult<()> {
    match fields.optional::<Value>(name, "invalid_search_personalize")? {
        None => Ok(()),
        Some(_) => Err(ApiError::new(
            "feature_not_enabled",
            "Reranking of search results requires enabling the `personalization` experimental feature.",
        )),
    }
}

/// The parameters of `GET .../search` that are not plain text.
pub const SEARCH_TEXT: &[(&str, FromText)] = &[
    ("q", FromText::Text),
    ("vector", FromText::Numbers),
    ("offset", FromText::Scalar),
    ("limit", FromText::Scalar),
    ("page", FromText::Scalar),
    ("hitsPerPage", FromText::Scalar),
    ("attributesToRetrieve", FromText::List),
    ("retrieveVectors", FromText::Scalar),
    ("attributesToCrop", FromText::List),
    ("cropLength", FromText::Scalar),
    ("attributesToHighlight", FromText::List),
    ("filter", FromText::Filter),
    ("sort", FromText::Sort),
    ("distinct", FromText::Text),
    ("showMatchesPosition", FromText::Scalar),
    ("showRankingScore", FromText::Scalar),
    ("showRankingScoreDetails", FromText::Scalar),
    ("facets", FromText::List),
    ("highlightPreTag", FromText::Text),
    ("highlightPostTag", FromText::Text),
    ("cropMarker", FromText::Text),
    ("matchingStrategy", FromText::Text),
    ("attributesToSearchOn", FromText::List),
    ("rankingScoreThreshold", FromText::Scalar),
    ("locales", FromText::List),
    ("hybridEmbedder", FromText::Text),
    ("hybridSemanticRatio", FromText::Scalar),
];

/// Turns decoded query-string pairs into the object that the body of the same request would hold. Unknown names stay
/// texts, to be refused where the object is read.
pub fn from_text(pairs: Vec<(String, String)>, table: &[(&str, FromText)]) -> Map<String, Value> {
    let convert = |(name, text): (String, String)| {
        let how = table.iter().find(|(known, _)| *known == name).map_or(FromText::Text, |row| row.1);
        let value = how.value(text);
        (name, value)
    };
    pairs.into_iter().map(convert).collect()
}

/// Gathers `hybridEmbedder` and `hybridSemanticRatio` into `hybrid`.
pub fn gather_hybrid(map: &mut Map<String, Value>) {
    let embedder = map.remove("hybridEmbedder");
    let ratio = map.remove("hybridSemanticRatio");
    let members: Map<String, Value> = [("embedder", embedder), ("semanticRatio", ratio)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    if !members.is_empty() {
        map.insert("hybrid".to_owned(), Value::Object(members));
    }
}

impl FromText {
    fn value(self, text: String) -> Value {
        match self {
            Self::Text => Value::String(text),
            Self::Scalar => match serde_json::from_str(&text) {
                Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                Ok(_) | Err(_) => Value::String(text),
            },
            Self::List => list(&text).map(Value::from).collect(),
            Self::Numbers => list(&text).map(|item| Self::Scalar.value(item.trim().to_owned())).collect(),
            Self::Filter => match serde_json::from_str(&text) {
                Ok(value @ Value::Array(_)) => value,
                Ok(Value::String(inner)) => Value::String(inner),
                Ok(_) | Err(_) => Value::String(text),
            },
            Self::Sort => sort_items(&text).into_iter().map(Value::String).collect(),
        }
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

/// Splits at commas outside parentheses.
fn sort_items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0_usize;
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if character == ',' && depth == 0 {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(character);
        }
    }
    items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(body: &Value) -> String {
        SearchQuery::read(&mut Fields::parse(body.to_string().as_bytes()).unwrap()).unwrap_err().code
    }

    #[test]
    fn each_parameter_has_its_own_code() {
        assert_eq!(code(&json!({"limit": -1})), "invalid_search_limit");
        assert_eq!(code(&json!({"sort": 1})), "invalid_search_sort");
        assert_eq!(code(&json!({"matchingStrategy": "some"})), "invalid_search_matching_strategy");
        assert_eq!(code(&json!({"rankingScoreThreshold": 1.5})), "invalid_search_ranking_score_threshold");
        assert_eq!(code(&json!({"hybrid": {"embedder": "a", "semanticRatio": 2}})), "invalid_search_semantic_ratio");
        assert_eq!(code(&json!({"hybrid": {}})), "invalid_search_hybrid_query");
        assert_eq!(code(&json!({"locales": ["xx"]})), "invalid_search_locales");
    }

    #[test]
    fn a_query_string_says_what_a_body_says() {
        let pairs = [
            ("q", "42"),
            ("limit", "3"),
            ("facets", "a,b"),
            ("filter", r#"["a = 1"]"#),
            ("sort", "_geoPoint(1,2):asc,price:desc"),
            ("showRankingScore", "true"),
            ("hybridEmbedder", "e"),
        ];
        let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut map = from_text(pairs.into(), SEARCH_TEXT);
        gather_hybrid(&mut map);
        assert_eq!(
            Value::Object(map),
            json!({
                "q": "42", "limit": 3, "facets": ["a", "b"], "filter": ["a = 1"],
                "sort": ["_geoPoint(1,2):asc", "price:desc"], "showRankingScore": true, "hybrid": {"embedder": "e"},
            })
        );
    }
}
