//! Federated search: the hits of several queries as one list, ordered by weighted scores.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use milli_core::Index;
use milli_core::heed::RoTxn;
use milli_core::score_details::{ScoreDetails, WeightedScoreValue};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use super::query::{DEFAULT_LIMIT, SearchQuery, refuse_personalized};
use super::{facets, run, values};
use crate::engine::Engine;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;

/// One query of a federation.
#[derive(Debug)]
pub struct FederatedQuery {
    /// Its index.
    pub uid: String,
    /// What is searched.
    pub query: SearchQuery,
    /// What scores are multiplied by.
    pub weight: f64,
}

/// How hits are merged.
#[derive(Debug)]
pub struct Federation {
    offset: usize,
    limit: usize,
    page: Option<usize>,
    hits_per_page: Option<usize>,
    facets_by_index: BTreeMap<String, Option<Vec<String>>>,
    /// Set when facets are merged; the bound of each.
    merge_facets: Option<Option<usize>>,
    distinct: Option<String>,
}

impl Federation {
    /// Reads the `federation` of a multi-search.
    ///
    /// # Errors
    /// The first wrong member's code.
    pub fn read(value: Value) -> ApiResult<Self> {
        let mut fields = Fields::parse(value.to_string().as_bytes())?;
        refuse_personalized(&mut fields, "personalize")?;
        let merge: Option<Value> = fields.optional("mergeFacets", "invalid_multi_search_merge_facets")?;
        let merge_facets = match merge {
            None => None,
            Some(merge) => {
                let mut merge = Fields::parse(merge.to_string().as_bytes())?;
                let most = merge.optional("maxValuesPerFacet", "invalid_multi_search_max_values_per_facet")?;
                merge.finish()?;
                Some(most)
            }
        };
        let federation = Self {
            offset: fields.or("offset", "invalid_search_offset", 0)?,
            limit: fields.or("limit", "invalid_search_limit", DEFAULT_LIMIT)?,
            page: fields.optional("page", "invalid_search_page")?,
            hits_per_page: fields.optional("hitsPerPage", "invalid_search_hits_per_page")?,
            facets_by_index: fields.or("facetsByIndex", "invalid_multi_search_facets_by_index", BTreeMap::new())?,
            merge_facets,
            distinct: fields.optional("distinct", "invalid_search_distinct")?,
        };
        let _: bool = fields.or("showPerformanceDetails", "invalid_search_show_performance_details", false)?;
        fields.finish()?;
        Ok(federation)
    }

    /// Hits to skip, and to return.
    fn window(&self) -> (usize, usize) {
        if self.page.is_none() && self.hits_per_page.is_none() {
            return (self.offset, self.limit);
        }
        let each = self.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        match self.page.unwrap_or(1).checked_sub(1) {
            Some(before) => (before.saturating_mul(each), each),
            None => (0, 0),
        }
    }

    fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }
}

/// A hit on its way.
struct Entry {
    position: usize,
    hit: Map<String, Value>,
    scores: Vec<ScoreDetails>,
    weight: f64,
    id: u32,
    distinct: Vec<String>,
}

impl Entry {
    fn score(&self) -> f64 {
        ScoreDetails::global_score(self.scores.iter()) * self.weight
    }

    /// `Less` when `self` comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let values = |entry: &Self| -> Vec<WeightedScoreValue> {
            ScoreDetails::weighted_score_values(entry.scores.iter(), entry.weight).collect()
        };
        let (ours, theirs) = (values(self), values(other));
        for (position, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            match compare(a, b) {
                Some(Ordering::Equal) => {}
                Some(order) => return order,
                None => {
                    let left = (theirs.len() - position).cmp(&(ours.len() - position));
                    return left.then_with(|| other.score().total_cmp(&self.score()));
                }
            }
        }
        theirs.len().cmp(&ours.len()).then(self.position.cmp(&other.position))
    }
}

/// `Less` when `ours` comes first; `None` when the two do not compare.
fn compare(ours: &WeightedScoreValue, theirs: &WeightedScoreValue) -> Option<Ordering> {
    use WeightedScoreValue as V;
    let falling = |ours: f64, theirs: f64| {
        if (ours - theirs).abs() <= f64::EPSILON { Ordering::Equal } else { theirs.total_cmp(&ours) }
    };
    match (ours, theirs) {
        (V::WeightedScore(ours) | V::VectorSort(ours), V::WeightedScore(theirs) | V::VectorSort(theirs)) => {
            Some(falling(*ours, *theirs))
        }
        (V::Sort { asc, value: ours }, V::Sort { asc: same, value: theirs }) if asc == same => {
            let directed = |order: Ordering| if *asc { order } else { order.reverse() };
            Some(match (ours, theirs) {
                (Value::Number(ours), Value::Number(theirs)) => {
                    directed(ours.as_f64().unwrap_or(0.0).total_cmp(&theirs.as_f64().unwrap_or(0.0)))
                }
                (Value::String(ours), Value::String(theirs)) => directed(ours.cmp(theirs)),
                (ours, theirs) => kind(ours).cmp(&kind(theirs)),
            })
        }
        (V::GeoSort { asc, distance: ours }, V::GeoSort { asc: same, distance: theirs }) if asc == same => {
            Some(match (ours, theirs) {
                (Some(ours), Some(theirs)) => falling(*ours, *theirs),
                (ours, theirs) => theirs.is_some().cmp(&ours.is_some()),
            })
        }
        (V::WeightedScore(_) | V::VectorSort(_) | V::Sort { .. } | V::GeoSort { .. }, _) => None,
    }
}

/// Numbers before texts before nothing.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 2,
    }
}

/// The best heads first; each list is in order.
fn merged(mut lists: Vec<std::iter::Peekable<std::vec::IntoIter<Entry>>>) -> impl Iterator<Item = Entry> {
    std::iter::from_fn(move || {
        let mut best: Option<usize> = None;
        for position in 0..lists.len() {
            let (before, rest) = lists.split_at_mut(position);
            let Some(candidate) = rest.first_mut().and_then(std::iter::Peekable::peek) else { continue };
            let leader = best.and_then(|best| before.get_mut(best)).and_then(std::iter::Peekable::peek);
            if leader.is_none_or(|leader| candidate.compare(leader) == Ordering::Less) {
                best = Some(position);
            }
        }
        lists.get_mut(best?)?.next()
    })
}

/// What one index contributes.
struct OfIndex {
    entries: Vec<Entry>,
    total: u64,
    facets: Option<(Value, Value)>,
}

/// Runs a federation and returns the answer's members; an error names the query it is about, if it is about one.
///
/// # Errors
/// Whatever a client is to be told.
pub fn search(
    engine: &Engine,
    queries: Vec<FederatedQuery>,
    federation: &Federation,
) -> Result<Value, (ApiError, Option<usize>)> {
    let started = Instant::now();
    check_directions(&queries)?;
    let (skip, take) = federation.window();
    let needed = skip.saturating_add(take);
    let mut by_index: BTreeMap<String, Vec<(usize, FederatedQuery)>> = BTreeMap::new();
    for (position, query) in queries.into_iter().enumerate() {
        by_index.entry(query.uid.clone()).or_default().push((position, query));
    }
    let is_semantic = by_index.values().flatten().any(|(_, query)| run::is_semantic(&query.query));
    let (mut lists, mut total, mut of_facets) = (Vec::new(), 0, BTreeMap::new());
    for (uid, queries) in &by_index {
        let found = search_index(engine, uid, queries, federation, needed)?;
        total += found.total;
        lists.push(found.entries.into_iter().peekable());
        if let Some(facets) = found.facets {
            of_facets.insert(uid.clone(), facets);
        }
    }
    for (uid, facets) in federation.facets_by_index.iter().filter(|(uid, _)| !by_index.contains_key(*uid)) {
        check_unused(engine, uid, facets.as_deref()).map_err(|error| (error, None))?;
    }
    let mut taken = HashSet::new();
    let admitted = merged(lists).filter(|entry| {
        if entry.distinct.iter().any(|value| taken.contains(value)) {
            total = total.saturating_sub(1);
            return false;
        }
        taken.extend(entry.distinct.iter().cloned());
        true
    });
    let page: Vec<Entry> = admitted.collect::<Vec<_>>().into_iter().skip(skip).take(take).collect();
    let semantic =
        page.iter().filter(|entry| entry.scores.iter().any(|s| matches!(s, ScoreDetails::Vector(_)))).count();
    let mut answer = Map::new();
    let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    put("hits", page.into_iter().map(|entry| Value::Object(entry.hit)).collect());
    put("processingTimeMs", json!(run::milliseconds(started)));
    if federation.is_paged() {
        let each = federation.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        put("hitsPerPage", json!(each));
        put("page", json!(federation.page.unwrap_or(1)));
        put("totalPages", json!(if each == 0 { 0 } else { total.div_ceil(each as u64) }));
        put("totalHits", json!(total));
    } else {
        put("limit", json!(federation.limit));
        put("offset", json!(federation.offset));
        put("estimatedTotalHits", json!(total));
    }
    if !of_facets.is_empty() {
        match federation.merge_facets {
            None => {
                let shown = |(uid, (counts, stats))| (uid, json!({ "distribution": counts, "stats": stats }));
                put("facetsByIndex", Value::Object(of_facets.into_iter().map(shown).collect()));
            }
            Some(most) => {
                let (counts, stats) = join(of_facets.into_values(), most);
                put("facetDistribution", counts);
                put("facetStats", stats);
            }
        }
    }
    if is_semantic {
        put("semanticHitCount", json!(semantic));
    }
    Ok(Value::Object(answer))
}

/// Two queries cannot be compared when they sort in opposite directions.
fn check_directions(queries: &[FederatedQuery]) -> Result<(), (ApiError, Option<usize>)> {
    let directions = |query: &FederatedQuery| -> Vec<bool> {
        query.query.sort.iter().flatten().map(|rule| rule.ends_with(":asc")).collect()
    };
    for (position, query) in queries.iter().enumerate() {
        for (previous, other) in queries.iter().enumerate().take(position) {
            if directions(query).iter().zip(&directions(other)).any(|(a, b)| a != b) {
                let message = format!("The results of queries #{previous} and #{position} are incompatible");
                return Err((ApiError::new("invalid_multi_search_query_ranking_rules", message), Some(position)));
            }
        }
    }
    Ok(())
}

fn search_index(
    engine: &Engine,
    uid: &str,
    queries: &[(usize, FederatedQuery)],
    federation: &Federation,
    needed: usize,
) -> Result<OfIndex, (ApiError, Option<usize>)> {
    let first = queries.first().map(|(position, _)| *position);
    let about_first = |error: ApiError| (error, first);
    let index = engine.index(uid).map_err(about_first)?;
    let rtxn = index.read_txn().map_err(|error| about_first(error.into()))?;
    let needed = needed.min(run::max_total_hits(&index, &rtxn).map_err(about_first)?);
    let mut candidates = RoaringBitmap::new();
    let mut lists = Vec::with_capacity(queries.len());
    for (position, query) in queries {
        let found = search_query(engine, &index, &rtxn, *position, query, federation, needed);
        let (entries, of_query) = found.map_err(|error| (error, Some(*position)))?;
        candidates |= of_query;
        lists.push(entries.into_iter().peekable());
    }
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    let mut entries = Vec::new();
    for entry in merged(lists) {
        if !seen.insert(entry.id) {
            continue;
        }
        if entry.distinct.iter().any(|value| taken.contains(value)) {
            candidates.remove(entry.id);
            continue;
        }
        taken.extend(entry.distinct.iter().cloned());
        if entries.len() < needed {
            entries.push(entry);
        }
    }
    let total = candidates.len();
    let facets = match federation.facets_by_index.get(uid) {
        Some(Some(asked)) => Some(
            facets::distribution(&index, &rtxn, asked, candidates)
                .map_err(|error| about_first(error.prefixed(&format!("Inside `.federation.facetsByIndex.{uid}`: "))))?,
        ),
        Some(None) | None => None,
    };
    Ok(OfIndex { entries, total, facets })
}

fn search_query(
    engine: &Engine,
    index: &Index,
    rtxn: &RoTxn<'_>,
    position: usize,
    query: &FederatedQuery,
    federation: &Federation,
    needed: usize,
) -> ApiResult<(Vec<Entry>, RoaringBitmap)> {
    let mut search = query.query.clone();
    if let Some(distinct) = &federation.distinct {
        search.distinct = Some(distinct.clone());
    }
    let found = run::ranked(engine, index, rtxn, &query.uid, &search, needed, federation.is_paged())?;
    let fields = index.fields_ids_map(rtxn)?;
    let mut entries = Vec::with_capacity(found.ids.len());
    for ((id, scores), hit) in found.ids.into_iter().zip(found.scores).zip(found.hits) {
        let Value::Object(mut hit) = hit else { continue };
        let score = ScoreDetails::global_score(scores.iter()) * query.weight;
        hit.insert(
            "_federation".to_owned(),
            json!({ "indexUid": query.uid, "queriesPosition": position, "weightedRankingScore": score }),
        );
        let distinct = match &federation.distinct {
            Some(path) => {
                let document = super::hits::stored_document(index, rtxn, &fields, id)?;
                values::at(&document, path).iter().filter_map(values::as_facet).collect()
            }
            None => Vec::new(),
        };
        entries.push(Entry { position, hit, scores, weight: query.weight, id, distinct });
    }
    Ok((entries, found.candidates))
}

/// Facets of an index that no query uses have to be ones that could be asked for.
fn check_unused(engine: &Engine, uid: &str, facets: Option<&[String]>) -> ApiResult<()> {
    let explained = |error: ApiError| {
        let mut error = error.prefixed(&format!("Inside `.federation.facetsByIndex.{uid}`: "));
        error.message.push_str(&format!("\n - Note: index `{uid}` is not used in queries"));
        if error.status == 404 {
            error.status = 400;
        }
        error
    };
    let index = engine.index(uid).map_err(explained)?;
    let rtxn = index.read_txn()?;
    match facets {
        Some(facets) => facets::distribution(&index, &rtxn, facets, RoaringBitmap::new()).map(drop).map_err(explained),
        None => Ok(()),
    }
}

/// The facets of several indexes as one.
fn join(all: impl Iterator<Item = (Value, Value)>, most: Option<usize>) -> (Value, Value) {
    let mut joined: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut bounds: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (counts, stats) in all {
        for (facet, values) in counts.as_object().into_iter().flatten() {
            let facet = joined.entry(facet.clone()).or_default();
            for (value, count) in values.as_object().into_iter().flatten() {
                *facet.entry(value.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        for (facet, of_facet) in stats.as_object().into_iter().flatten() {
            let (min, max) = (of_facet["min"].as_f64().unwrap_or(0.0), of_facet["max"].as_f64().unwrap_or(0.0));
            let known = bounds.entry(facet.clone()).or_insert((min, max));
            *known = (known.0.min(min), known.1.max(max));
        }
    }
    let cut = |values: BTreeMap<String, u64>| -> Map<String, Value> {
        values.into_iter().take(most.unwrap_or(usize::MAX)).map(|(value, count)| (value, json!(count))).collect()
    };
    let counts: Map<String, Value> =
        joined.into_iter().map(|(facet, values)| (facet, Value::Object(cut(values)))).collect();
    let stats: Map<String, Value> =
        bounds.into_iter().map(|(facet, (min, max))| (facet, json!({ "min": min, "max": max }))).collect();
    (Value::Object(counts), Value::Object(stats))
}
