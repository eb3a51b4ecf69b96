//! Running a search: from the request to the answer's JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milli_core::heed::RoTxn;
use milli_core::score_details::{ScoreDetails, ScoringStrategy};
use milli_core::tokenizer::{Language, TokenizerBuilder};
use milli_core::vector::Embedder;
use milli_core::{
    Error as EngineError, Index, MatcherBuilder, MatchingWords, PatternMatch, Search, SearchForFacetValues,
    SearchResult, Similar, TimeBudget, UserError,
};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use super::hits::HitMaker;
use super::query::{DEFAULT_LIMIT, SearchQuery};
use super::{facets, filter, pinned};
use crate::engine::Engine;
use crate::engine::locale::Locale;
use crate::engine::setting_values::DEFAULT_MAX_TOTAL_HITS;
use crate::error::{ApiError, ApiResult};

/// How long an embedder may take for a query.
const EMBED_DEADLINE: Duration = Duration::from_secs(10);

/// By words, by meaning, or both.
enum Kind {
    Words,
    Meaning(Arc<Embedder>, String, bool),
    Mixed(Arc<Embedder>, String, bool, f32),
}

/// Searches the index `uid` and returns the answer's members.
///
/// # Errors
/// Whatever a client is to be told.
pub fn search(engine: &Engine, uid: &str, query: &SearchQuery) -> ApiResult<Map<String, Value>> {
    let started = Instant::now();
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let kind = kind(engine, &index, &rtxn, query)?;
    let (offset, limit) = window(&index, &rtxn, query)?;
    let mut search = prepared(&index, &rtxn, query, &kind)?;
    let pins = pinned::of(engine, uid, &index, &rtxn, query)?;
    if pins.is_empty() {
        search.offset(offset).limit(limit);
    } else {
        search.offset(0).limit(offset.saturating_add(limit).saturating_add(pins.len()));
    }
    let in_index = |error: EngineError| ApiError::in_index(uid, error);
    let (mut result, semantic_hits) = match &kind {
        Kind::Words => (search.execute().map_err(in_index)?, None),
        Kind::Meaning(..) => {
            let result = search.execute().map_err(in_index)?;
            let hits = u32::try_from(result.document_scores.len()).unwrap_or(u32::MAX);
            (result, Some(hits))
        }
        Kind::Mixed(.., ratio) => search.execute_hybrid(*ratio).map_err(in_index)?,
    };
    let pinned = if pins.is_empty() { Vec::new() } else { pinned::place(pins, offset, limit, &mut result) };
    let SearchResult { matching_words, candidates, documents_ids, document_scores, .. } = result;
    let mut hits = hits(&index, &rtxn, query, matching_words, &documents_ids, &document_scores)?;
    if query.show.show_ranking_score_details {
        for (hit, position) in hits.iter_mut().zip(&pinned).filter_map(|(hit, pin)| Some((hit, (*pin)?))) {
            hit["_rankingScoreDetails"] = json!({"pin": {"order": 0, "position": position}});
        }
    }
    let mut answer = Map::new();
    answer.insert("hits".to_owned(), Value::Array(hits));
    answer.insert("query".to_owned(), json!(query.q.as_deref().unwrap_or_default()));
    answer.insert("processingTimeMs".to_owned(), json!(milliseconds(started)));
    paging(query, candidates.len(), &mut answer);
    if let Some(facets) = &query.facets {
        let (counts, stats) = facets::distribution(&index, &rtxn, facets, candidates)?;
        answer.insert("facetDistribution".to_owned(), counts);
        answer.insert("facetStats".to_owned(), stats);
    }
    if let Some(count) = semantic_hits {
        answer.insert("semanticHitCount".to_owned(), json!(count));
    }
    Ok(answer)
}

/// Since then.
pub fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The paging members: estimated totals by offset, exhaustive ones by page. As in Meilisearch 1.50, totals are not capped
/// at `maxTotalHits`, only the hits are.
fn paging(query: &SearchQuery, found: u64, answer: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| {
        answer.insert(name.to_owned(), value);
    };
    if query.is_paged() {
        let per_page = query.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        let pages = if per_page == 0 { 0 } else { found.div_ceil(per_page as u64) };
        put("hitsPerPage", json!(per_page));
        put("page", json!(query.page.unwrap_or(1)));
        put("totalPages", json!(pages));
        put("totalHits", json!(found));
    } else {
        put("limit", json!(query.limit));
        put("offset", json!(query.offset));
        put("estimatedTotalHits", json!(found));
    }
}

/// The index's last rank.
///
/// # Errors
/// When the index cannot be read.
pub fn max_total_hits(index: &Index, rtxn: &RoTxn<'_>) -> ApiResult<usize> {
    let most = index.pagination_max_total_hits(rtxn)?;
    Ok(most.map_or(DEFAULT_MAX_TOTAL_HITS, |most| usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Whether meaning takes part in what is found.
pub fn is_semantic(query: &SearchQuery) -> bool {
    let has_words = query.q.as_ref().is_some_and(|q| !q.trim().is_empty());
    let has_something = query.vector.is_some() || has_words;
    query.hybrid.as_ref().is_some_and(|hybrid| hybrid.semantic_ratio != 0.0) && has_something
}

/// What one query of a federation finds, in its order.
pub struct Ranked {
    /// The engine's numbers of the documents.
    pub ids: Vec<u32>,
    /// Of each.
    pub scores: Vec<Vec<ScoreDetails>>,
    /// Each as it is shown.
    pub hits: Vec<Value>,
    /// All that match.
    pub candidates: RoaringBitmap,
}

/// The first `needed` hits of a query, with their scores.
///
/// # Errors
/// Whatever a client is to be told.
pub fn ranked(
    engine: &Engine,
    index: &Index,
    rtxn: &RoTxn<'_>,
    uid: &str,
    query: &SearchQuery,
    needed: usize,
    is_exhaustive: bool,
) -> ApiResult<Ranked> {
    let kind = kind(engine, index, rtxn, query)?;
    let mut search = prepared(index, rtxn, query, &kind)?;
    search.offset(0).limit(needed).exhaustive_number_hits(is_exhaustive);
    search.scoring_strategy(ScoringStrategy::Detailed);
    let in_index = |error: EngineError| ApiError::in_index(uid, error);
    let result = match &kind {
        Kind::Words | Kind::Meaning(..) => search.execute().map_err(in_index)?,
        Kind::Mixed(.., ratio) => search.execute_hybrid(*ratio).map_err(in_index)?.0,
    };
    let SearchResult { matching_words, candidates, documents_ids, document_scores, .. } = result;
    let hits = hits(index, rtxn, query, matching_words, &documents_ids, &document_scores)?;
    Ok(Ranked { ids: documents_ids, scores: document_scores, hits, candidates })
}

/// The documents similar to the one of this id, as a search for its vector would show them.
///
/// # Errors
/// Whatever a client is to be told.
pub fn similar(engine: &Engine, uid: &str, id: &str, embedder: &str, query: &SearchQuery) -> ApiResult<Value> {
    let started = Instant::now();
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let embedders = engine.embedders().of(&index, &rtxn)?;
    let Some((found, _, quantized)) = embedders.get(embedder) else {
        return Err(EngineError::from(UserError::InvalidSimilarEmbedder(embedder.to_owned())).into());
    };
    let filter = match &query.filter {
        Some(filter) => filter::parse(filter, "invalid_similar_filter")?,
        None => None,
    };
    let Some(internal) = index.external_documents_ids().get(&rtxn, id)? else {
        return Err(ApiError::new("not_found_similar_id", format!("Document `{id}` not found.")));
    };
    let name = embedder.to_owned();
    let mut similar = Similar::new(internal, query.offset, query.limit, &index, &rtxn, name, found, quantized);
    if let Some(filter) = filter {
        similar.filter(filter);
    }
    if let Some(threshold) = query.ranking_score_threshold {
        similar.ranking_score_threshold(threshold);
    }
    let SearchResult { candidates, documents_ids, document_scores, .. } = similar.execute().map_err(|error| {
        let error = ApiError::from(error);
        if error.code == "invalid_search_filter" { error.with_code("invalid_similar_filter") } else { error }
    })?;
    let hits = hits(&index, &rtxn, query, MatchingWords::default(), &documents_ids, &document_scores)?;
    Ok(json!({
        "hits": hits,
        "id": id,
        "processingTimeMs": milliseconds(started),
        "limit": query.limit,
        "offset": query.offset,
        "estimatedTotalHits": candidates.len(),
    }))
}

/// Offset and limit, never reaching beyond the index's last hit.
fn window(index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> ApiResult<(usize, usize)> {
    let most = max_total_hits(index, rtxn)?;
    let (offset, limit) = if query.is_paged() {
        let per_page = query.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        match query.page.unwrap_or(1).checked_sub(1) {
            Some(before) => (per_page.saturating_mul(before), per_page),
            None => (0, 0),
        }
    } else {
        (query.offset, query.limit)
    };
    let offset = offset.min(most);
    Ok((offset, limit.min(most - offset)))
}

/// Decides by what to search.
fn kind(engine: &Engine, index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> ApiResult<Kind> {
    let has_words = query.q.as_ref().is_some_and(|q| !q.trim().is_empty());
    let Some(hybrid) = &query.hybrid else {
        return match &query.vector {
            None => Ok(Kind::Words),
            Some(_) => Err(ApiError::new(
                "missing_search_hybrid",
                "Invalid request: missing `hybrid` parameter when `vector` is present.",
            )),
        };
    };
    let nothing_to_embed = query.vector.is_none() && !has_words;
    if nothing_to_embed || (hybrid.semantic_ratio == 0.0 && query.q.is_some()) {
        return Ok(Kind::Words);
    }
    if hybrid.semantic_ratio == 0.0 {
        return Ok(Kind::Words);
    }
    let embedders = engine.embedders().of(index, rtxn)?;
    let name = hybrid.embedder.clone();
    let Some((embedder, _, quantized)) = embedders.get(&name) else {
        return Err(EngineError::from(UserError::InvalidSearchEmbedder(name)).into());
    };
    if let Some(vector) = &query.vector
        && vector.len() != embedder.dimensions()
    {
        let (expected, found) = (embedder.dimensions(), vector.len());
        return Err(EngineError::from(UserError::InvalidVectorDimensions { expected, found }).into());
    }
    Ok(if hybrid.semantic_ratio == 1.0 || query.q.is_none() {
        Kind::Meaning(embedder, name, quantized)
    } else {
        Kind::Mixed(embedder, name, quantized, hybrid.semantic_ratio)
    })
}

/// The engine's search, everything set but its window.
fn prepared<'a>(index: &'a Index, rtxn: &'a RoTxn<'a>, query: &'a SearchQuery, kind: &Kind) -> ApiResult<Search<'a>> {
    let mut search = index.search(rtxn);
    search.time_budget(match index.search_cutoff(rtxn)? {
        Some(cutoff) => TimeBudget::new(Duration::from_millis(cutoff)),
        None => TimeBudget::default(),
    });
    if let Some(threshold) = query.ranking_score_threshold {
        search.ranking_score_threshold(threshold);
    }
    if let Some(distinct) = &query.distinct {
        search.distinct(distinct.clone());
    }
    match kind {
        Kind::Words => {
            if let Some(q) = &query.q {
                search.query(q);
            }
        }
        Kind::Meaning(embedder, name, quantized) => {
            let vector = match &query.vector {
                Some(vector) => vector.clone(),
                None => embed(embedder, query.q.as_deref().unwrap_or_default())?,
            };
            search.semantic(name.clone(), embedder.clone(), *quantized, Some(vector));
        }
        Kind::Mixed(embedder, name, quantized, _) => {
            if let Some(q) = &query.q {
                search.query(q);
            }
            search.semantic(name.clone(), embedder.clone(), *quantized, query.vector.clone());
        }
    }
    if let Some(attributes) = &query.attributes_to_search_on {
        search.searchable_attributes(attributes);
    }
    search.terms_matching_strategy(query.matching_strategy);
    search.exhaustive_number_hits(query.is_paged());
    let scored = query.show.show_ranking_score
        || query.show.show_ranking_score_details
        || query.ranking_score_threshold.is_some();
    search.scoring_strategy(if scored { ScoringStrategy::Detailed } else { ScoringStrategy::Skip });
    if let Some(filter) = &query.filter
        && let Some(filter) = filter::parse(filter, "invalid_search_filter")?
    {
        search.filter(filter);
    }
    if let Some(sort) = query.sort_criteria()? {
        search.sort_criteria(sort);
    }
    if let Some(locales) = &query.locales {
        search.locales(languages(locales));
    }
    Ok(search)
}

fn embed(embedder: &Embedder, text: &str) -> ApiResult<Vec<f32>> {
    embedder
        .embed_search(text, Some(Instant::now() + EMBED_DEADLINE))
        .map_err(milli_core::vector::Error::from)
        .map_err(|error| ApiError::from(EngineError::from(error)))
}

fn languages(locales: &[Locale]) -> Vec<Language> {
    locales.iter().map(|locale| locale.0).collect()
}

fn hits(
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
    matching_words: MatchingWords,
    ids: &[u32],
    scores: &[Vec<ScoreDetails>],
) -> ApiResult<Vec<Value>> {
    let dictionary = index.dictionary(rtxn)?;
    let dictionary: Option<Vec<&str>> = dictionary.as_ref().map(|words| words.iter().map(String::as_str).collect());
    let separators = index.allowed_separators(rtxn)?;
    let separators: Option<Vec<&str>> = separators.as_ref().map(|tokens| tokens.iter().map(String::as_str).collect());
    let mut tokenizer = TokenizerBuilder::<&[u8]>::new();
    tokenizer.create_char_map(true);
    if let Some(separators) = &separators {
        tokenizer.separators(separators);
    }
    if let Some(dictionary) = &dictionary {
        tokenizer.words_dict(dictionary);
    }
    let matcher = MatcherBuilder::new(matching_words, tokenizer.into_tokenizer());
    let locales = query.locales.as_deref().map(languages);
    let sort = query.sort_criteria()?.unwrap_or_default();
    let maker = HitMaker::new(index, rtxn, &query.show, matcher, locales, &sort)?;
    ids.iter()
        .enumerate()
        .map(|(rank, id)| {
            let scores = scores.get(rank).map_or(&[][..], Vec::as_slice);
            Ok(Value::Object(maker.hit(*id, scores)?))
        })
        .collect()
}

/// Searches in the values of the facet `name` over what `query` finds.
///
/// # Errors
/// Whatever a client is to be told.
pub fn facet_search(
    engine: &Engine,
    uid: &str,
    name: &str,
    facet_query: Option<&str>,
    query: &SearchQuery,
) -> ApiResult<Value> {
    let started = Instant::now();
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    if !index.facet_search(&rtxn)? {
        return Err(ApiError::new("facet_search_disabled", "The facet search is disabled for this index"));
    }
    let kind = kind(engine, &index, &rtxn, query)?;
    let search = prepared(&index, &rtxn, query, &kind)?;
    let mut values = SearchForFacetValues::new(name.to_owned(), search, matches!(kind, Kind::Mixed(..)));
    if let Some(facet_query) = facet_query {
        values.query(facet_query);
    }
    if let Some(most) = index.max_values_per_facet(&rtxn)? {
        values.max_values(usize::try_from(most).unwrap_or(usize::MAX));
    }
    // The facet's own languages count; the request can only choose among them.
    let localized = index.localized_attributes_rules(&rtxn)?.unwrap_or_default();
    if let Some(rule) = localized.into_iter().find(|rule| rule.match_str(name) == PatternMatch::Match) {
        let asked = query.locales.as_deref().map(languages);
        let admitted = |language: &Language| asked.as_ref().is_none_or(|asked| asked.contains(language));
        values.locales(rule.locales.into_iter().filter(admitted).collect());
    }
    let found = values.execute()?;
    Ok(json!({
        "facetHits": found,
        "facetQuery": facet_query,
        "processingTimeMs": milliseconds(started),
    }))
}
