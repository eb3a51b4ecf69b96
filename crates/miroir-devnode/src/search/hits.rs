//! How a hit is shown: the attributes asked for, and what is added to them.

use std::collections::{BTreeMap, BTreeSet};

use milli_core::constants::RESERVED_VECTORS_FIELD_NAME;
use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::score_details::ScoreDetails;
use milli_core::tokenizer::Language;
use milli_core::{
    AscDesc, FieldId, FieldsIdsMap, FormatOptions, Index, InternalError, LocalizedAttributesRule, MatchBounds,
    MatcherBuilder, Member, PatternMatch, Result as EngineResult,
};
use serde_json::{Value, json};

use super::query::Presentation;
use crate::select::{self, Document};

/// Shows the hits of one search.
pub struct HitMaker<'a> {
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    fields: FieldsIdsMap,
    /// Names of the attributes that may be seen.
    displayed: Vec<String>,
    /// Names of the attributes asked for, among those that may be seen.
    retrieved: Vec<String>,
    /// Attributes to format, and how; those that are only carried along have empty options.
    formats: Vec<(String, FormatOptions)>,
    vectors: bool,
    embedders: Vec<IndexEmbeddingConfig>,
    matcher: MatcherBuilder<'a>,
    localized: Vec<LocalizedAttributesRule>,
    locales: Option<Vec<Language>>,
    geo_origin: Option<[f64; 2]>,
    show: &'a Presentation,
}

impl<'a> HitMaker<'a> {
    /// Prepares to show hits of `index` as `show` says.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn new(
        index: &'a Index,
        rtxn: &'a RoTxn<'a>,
        show: &'a Presentation,
        mut matcher: MatcherBuilder<'a>,
        locales: Option<Vec<Language>>,
        sort: &[AscDesc],
    ) -> EngineResult<Self> {
        matcher.crop_marker(show.crop_marker.clone());
        matcher.highlight_prefix(show.highlight_pre_tag.clone());
        matcher.highlight_suffix(show.highlight_post_tag.clone());
        let fields = index.fields_ids_map(rtxn)?;
        let displayed_ids: BTreeSet<FieldId> = match index.displayed_fields_ids(rtxn)? {
            Some(ids) => ids.into_iter().collect(),
            None => fields.iter().map(|(id, _)| id).collect(),
        };
        let retrieved_ids: BTreeSet<FieldId> = match &show.attributes_to_retrieve {
            None => displayed_ids.clone(),
            Some(names) if names.contains("*") => displayed_ids.clone(),
            Some(names) => {
                names.iter().filter_map(|name| fields.id(name)).filter(|id| displayed_ids.contains(id)).collect()
            }
        };
        let formats = formats(show, &fields, &displayed_ids, &retrieved_ids);
        let names = |ids: &BTreeSet<FieldId>| -> Vec<String> {
            ids.iter().filter_map(|id| fields.name(*id)).map(str::to_owned).collect()
        };
        let vectors = show.retrieve_vectors
            && index.displayed_fields(rtxn)?.is_none_or(|names| names.contains(&RESERVED_VECTORS_FIELD_NAME));
        let mut retrieved = names(&retrieved_ids);
        retrieved.retain(|name| name != RESERVED_VECTORS_FIELD_NAME);
        Ok(Self {
            index,
            rtxn,
            displayed: names(&displayed_ids),
            retrieved,
            formats: formats
                .into_iter()
                .filter_map(|(id, format)| Some((fields.name(id)?.to_owned(), format)))
                .collect(),
            vectors,
            embedders: if vectors { index.embedding_configs(rtxn)? } else { Vec::new() },
            matcher,
            localized: index.localized_attributes_rules(rtxn)?.unwrap_or_default(),
            locales,
            geo_origin: sort.iter().find_map(geo_origin),
            show,
            fields,
        })
    }

    /// Shows one hit.
    ///
    /// # Errors
    /// When the document cannot be read.
    pub fn hit(&self, id: u32, scores: &[ScoreDetails]) -> EngineResult<Document> {
        let stored = stored_document(self.index, self.rtxn, &self.fields, id)?;
        let displayed: Vec<&str> = self.displayed.iter().map(String::as_str).collect();
        let visible = select::keep(&stored, &displayed);
        let retrieved: Vec<&str> = self.retrieved.iter().map(String::as_str).collect();
        let mut hit = select::keep(&visible, &retrieved);
        if self.vectors {
            let given = visible.get(RESERVED_VECTORS_FIELD_NAME).cloned();
            let vectors = vectors(self.index, self.rtxn, &self.embedders, id, given)?;
            hit.insert(RESERVED_VECTORS_FIELD_NAME.to_owned(), vectors);
        }
        if let Some(origin) = &self.geo_origin
            && let Some(point) = hit.get("_geo").and_then(point)
        {
            let metres = milli_core::distance_between_two_points(origin, &point).round();
            hit.insert("_geoDistance".to_owned(), json!(metres as u64));
        }
        let (formatted, positions) = self.formatted(&visible);
        if let Some(formatted) = formatted {
            hit.insert("_formatted".to_owned(), Value::Object(formatted));
        }
        if let Some(positions) = positions {
            hit.insert("_matchesPosition".to_owned(), json!(positions));
        }
        if self.show.show_ranking_score {
            let score = ScoreDetails::global_score(scores.iter());
            hit.insert("_rankingScore".to_owned(), json!(score));
        }
        if self.show.show_ranking_score_details {
            let details = ScoreDetails::to_json_map(scores.iter());
            hit.insert("_rankingScoreDetails".to_owned(), Value::Object(details));
        }
        Ok(hit)
    }

    /// `_formatted` and `_matchesPosition`, where asked for.
    fn formatted(&self, visible: &Document) -> (Option<Document>, Option<BTreeMap<String, Vec<MatchBounds>>>) {
        if self.formats.is_empty() && !self.show.show_matches_position {
            return (None, None);
        }
        let mut document = visible.clone();
        document.remove(RESERVED_VECTORS_FIELD_NAME);
        let mut positions = BTreeMap::new();
        let displayed: Vec<&str> = self.displayed.iter().map(String::as_str).collect();
        select::for_each_leaf(&mut document, &displayed, &mut |path, indices, leaf| {
            let matches = self.format_leaf(path, indices, leaf);
            if !matches.is_empty() {
                positions.insert(path.to_owned(), matches);
            }
        });
        let formatted = (!self.formats.is_empty()).then(|| {
            let names: Vec<&str> = self.formats.iter().map(|(name, _)| name.as_str()).collect();
            select::keep(&document, &names)
        });
        (formatted, self.show.show_matches_position.then_some(positions))
    }

    fn format_leaf(&self, path: &str, indices: &[usize], leaf: &mut Value) -> Vec<MatchBounds> {
        let text = match leaf {
            Value::String(text) => std::mem::take(text),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Vec::new(),
        };
        let options = self
            .formats
            .iter()
            .filter(|(name, options)| {
                let related = || milli_core::is_faceted_by(name, path) || milli_core::is_faceted_by(path, name);
                options.should_format() && related()
            })
            .map(|(_, options)| *options)
            .reduce(FormatOptions::merge);
        if options.is_none() && !self.show.show_matches_position {
            *leaf = Value::String(text);
            return Vec::new();
        }
        let of_attribute = || self.localized.iter().find(|rule| rule.match_str(path) == PatternMatch::Match);
        let locales = self.locales.as_deref().or_else(|| of_attribute().map(LocalizedAttributesRule::locales));
        let mut matcher = self.matcher.build(&text, locales);
        let matches = if self.show.show_matches_position { matcher.matches(indices) } else { Vec::new() };
        let formatted = options.map(|options| matcher.format(options).into_owned());
        *leaf = Value::String(formatted.unwrap_or(text));
        matches
    }
}

/// Which attributes to format. Once anything is formatted, the retrieved attributes are carried along.
fn formats(
    show: &Presentation,
    fields: &FieldsIdsMap,
    displayed: &BTreeSet<FieldId>,
    retrieved: &BTreeSet<FieldId>,
) -> BTreeMap<FieldId, FormatOptions> {
    let mut formats: BTreeMap<FieldId, FormatOptions> = BTreeMap::new();
    let named = |name: &str| -> Vec<FieldId> {
        if name == "*" {
            return displayed.iter().copied().collect();
        }
        fields.id(name).into_iter().filter(|id| displayed.contains(id)).collect()
    };
    for name in &show.attributes_to_highlight {
        for id in named(name) {
            formats.entry(id).or_default().highlight = true;
        }
    }
    for attribute in &show.attributes_to_crop {
        let (name, length) = match attribute.rsplit_once(':') {
            Some((name, length)) => (name, length.parse().unwrap_or(show.crop_length)),
            None => (attribute.as_str(), show.crop_length),
        };
        for id in named(name) {
            formats.entry(id).or_default().crop = Some(length);
        }
    }
    if !formats.is_empty() {
        for id in retrieved {
            formats.entry(*id).or_default();
        }
    }
    formats
}

fn geo_origin(rule: &AscDesc) -> Option<[f64; 2]> {
    match rule.member() {
        Member::Geo(point) => Some(*point),
        Member::Field(_) => None,
    }
}

/// The coordinates of a `_geo` value.
fn point(geo: &Value) -> Option<[f64; 2]> {
    let coordinate = |name: &str| match geo.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    Some([coordinate("lat")?, coordinate("lng")?])
}

/// The document with the engine's number `id`, as it was sent.
///
/// # Errors
/// When it cannot be read.
pub fn stored_document(index: &Index, rtxn: &RoTxn<'_>, fields: &FieldsIdsMap, id: u32) -> EngineResult<Document> {
    milli_core::all_obkv_to_json(index.document(rtxn, id)?, fields)
}

/// `_vectors`: what the document was sent with, and what the index holds for each embedder.
///
/// # Errors
/// When the vectors cannot be read.
pub fn vectors(
    index: &Index,
    rtxn: &RoTxn<'_>,
    embedders: &[IndexEmbeddingConfig],
    id: u32,
    given: Option<Value>,
) -> EngineResult<Value> {
    let mut vectors = match given {
        Some(Value::Object(given)) => given,
        Some(_) | None => Document::new(),
    };
    for (name, embeddings) in index.embeddings(rtxn, id)? {
        let given_by_user =
            embedders.iter().any(|embedder| embedder.name == name && embedder.user_provided.contains(id));
        let embeddings = serde_json::to_value(embeddings).map_err(InternalError::SerdeJson)?;
        vectors.insert(name, json!({"embeddings": embeddings, "regenerate": !given_by_user}));
    }
    Ok(Value::Object(vectors))
}
