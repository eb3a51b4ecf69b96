//! Whether two answers to one search agree, and how often they must.
//!
//! Order is compared by rank, rule by rule: documents that rank exactly equal may change places. Word frequencies and
//! the words that a typo may stand for are known per node, so the bars of the classes that depend on them are below 1.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::queries::CLASSES;

/// What two answers are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Status and error code.
    Status,
    /// The sequence of ranks.
    Order,
    /// Totals, pages and limits.
    Total,
    /// Facet counts, their order, and statistics.
    Facets,
    /// The fields of each hit that both returned.
    Content,
    /// Nothing of ours in the text.
    Leak,
}

const ASPECTS: [Aspect; 6] =
    [Aspect::Status, Aspect::Order, Aspect::Total, Aspect::Facets, Aspect::Content, Aspect::Leak];

/// The share of searches of a class that must agree.
pub fn bar(class: &str, aspect: Aspect) -> f64 {
    match (class, aspect) {
        // Which words are kept depends on how many documents have them, and each node counts a few hundred only.
        ("frequency", Aspect::Order | Aspect::Total) => 0.75,
        ("prefix", Aspect::Order | Aspect::Total) => 0.97,
        ("deep", Aspect::Order) => 0.98,
        // An estimate by nature: a node cannot know which values the others hold.
        ("distinct", Aspect::Total) => 0.0,
        (_, Aspect::Order | Aspect::Facets) => 0.99,
        (_, Aspect::Total) => 0.98,
        (_, Aspect::Status | Aspect::Content | Aspect::Leak) => 1.0,
    }
}

/// A hit's rank, comparable between servers.
fn rank(hit: &Value) -> Vec<String> {
    let Some(details) = hit["_rankingScoreDetails"].as_object() else { return Vec::new() };
    let mut rules: Vec<(&String, &Value)> = details.iter().collect();
    rules.sort_by_key(|(_, detail)| detail["order"].as_u64());
    let key = |(rule, detail): (&String, &Value)| {
        let value = match rule.as_str() {
            // Their scores depend on the words that a node knows; their counts do not.
            "words" => detail["matchingWords"].to_string(),
            "typo" => detail["typoCount"].to_string(),
            _ => match (detail["score"].as_f64(), detail.get("distance"), detail.get("value")) {
                (Some(score), _, _) => format!("{score:.9}"),
                (None, Some(distance), _) => distance.to_string(),
                (None, None, Some(value)) => value.to_string(),
                (None, None, None) => return None,
            },
        };
        Some(format!("{rule} {value}"))
    };
    rules.into_iter().filter_map(key).collect()
}

fn hits(answer: &Value) -> &[Value] {
    answer["hits"].as_array().map_or(&[], Vec::as_slice)
}

fn ranks(answer: &Value) -> Vec<Vec<String>> {
    hits(answer).iter().map(rank).collect()
}

/// A hit's id, or its name where the id was not asked for.
fn identity(hit: &Value) -> Option<String> {
    let named = |field: &str| hit.get(field).filter(|value| !value.is_null()).map(Value::to_string);
    named("id").or_else(|| named("name"))
}

fn content(hit: &Value) -> Value {
    let mut hit = hit.clone();
    if let Some(fields) = hit.as_object_mut() {
        fields.retain(|field, _| !field.starts_with("_rankingScore"));
    }
    hit
}

fn contents_agree(reference: &Value, candidate: &Value) -> bool {
    let mut known: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for hit in hits(reference) {
        if let Some(id) = identity(hit) {
            known.entry(id).or_default().push(content(hit));
        }
    }
    hits(candidate).iter().all(|hit| {
        let twins = identity(hit).and_then(|id| known.get(&id));
        // Names are not unique: any document of that name will do.
        twins.is_none_or(|twins| hit.get("id").is_none() || twins.contains(&content(hit)))
    })
}

/// The counts of every facet, in the order in which they were returned.
fn facets(answer: &Value) -> Vec<(String, Vec<(String, Value)>)> {
    let Some(facets) = answer["facetDistribution"].as_object() else { return Vec::new() };
    let mut all: Vec<_> = facets
        .iter()
        .map(|(facet, counts)| {
            let counts = counts.as_object().into_iter().flatten();
            (facet.clone(), counts.map(|(value, count)| (value.clone(), count.clone())).collect())
        })
        .collect();
    all.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
    all
}

/// The separator characters in which our fields are encoded; no document of the tests contains them.
fn is_ours(c: char) -> bool {
    ('\u{2055}'..='\u{205d}').contains(&c) && c != '\u{2057}'
}

/// Whether text that a client received shows anything of ours.
pub fn leaks(text: &str) -> bool {
    text.contains("_miroir") || text.contains(is_ours)
}

/// Every aspect that applies to these two answers, and whether they agree in it.
pub fn compare(reference: &Value, candidate: &Value) -> Vec<(Aspect, bool)> {
    const TOTALS: [&str; 7] =
        ["estimatedTotalHits", "totalHits", "totalPages", "limit", "offset", "page", "hitsPerPage"];
    let mut aspects = vec![
        (Aspect::Order, ranks(reference) == ranks(candidate)),
        (Aspect::Total, TOTALS.iter().all(|field| reference.get(field) == candidate.get(field))),
        (Aspect::Content, contents_agree(reference, candidate)),
    ];
    if reference.get("facetDistribution").is_some() {
        let agree =
            facets(reference) == facets(candidate) && reference.get("facetStats") == candidate.get("facetStats");
        aspects.push((Aspect::Facets, agree));
    }
    aspects
}

/// How often two servers agreed, by class and aspect.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(&'static str, Aspect), (usize, usize)>,
    examples: Vec<String>,
}

impl Tally {
    /// Counts one comparison; a disagreement is kept as an example.
    pub fn record(&mut self, class: &'static str, aspect: Aspect, agree: bool, example: impl FnOnce() -> String) {
        let (asked, agreed) = self.counts.entry((class, aspect)).or_default();
        *asked += 1;
        *agreed += usize::from(agree);
        if !agree && self.examples.len() < 40 {
            self.examples.push(format!("{class}/{aspect:?}: {}", example()));
        }
    }

    /// The classes below their bar, one a line; empty when there are none.
    pub fn shortfall(&self) -> String {
        let mut text = String::new();
        for ((class, aspect), (asked, agreed)) in &self.counts {
            let share = *agreed as f64 / (*asked).max(1) as f64;
            if share < bar(class, *aspect) {
                // Writing to a string cannot fail.
                let _ =
                    writeln!(text, "{class}/{aspect:?}: {agreed} of {asked}, at least {} needed", bar(class, *aspect));
                let mark = format!("{class}/{aspect:?}:");
                for example in self.examples.iter().filter(|example| example.starts_with(&mark)).take(3) {
                    let _ = writeln!(text, "    {example}");
                }
            }
        }
        text
    }

    /// A row per class.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for class in CLASSES {
            let _ = write!(text, "{class:10}");
            for aspect in ASPECTS {
                if let Some((asked, agreed)) = self.counts.get(&(class, aspect)) {
                    let _ = write!(text, "  {aspect:?} {agreed}/{asked}");
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hit(id: u32, score: f64) -> Value {
        json!({ "id": id, "_rankingScoreDetails": { "typo": { "order": 1, "typoCount": 0, "score": score }, "words": { "order": 0, "matchingWords": 2, "score": 1.0 }, "exactness": { "order": 2, "score": score } } })
    }

    fn agrees(a: &[Value], b: &[Value], aspect: Aspect) -> bool {
        compare(&json!({ "hits": a }), &json!({ "hits": b })).contains(&(aspect, true))
    }

    #[test]
    fn equal_ranks_may_change_places_and_others_may_not() {
        assert!(agrees(&[hit(1, 0.5), hit(2, 0.5)], &[hit(2, 0.5), hit(1, 0.5)], Aspect::Order));
        assert!(!agrees(&[hit(1, 0.5), hit(2, 0.4)], &[hit(2, 0.4), hit(1, 0.5)], Aspect::Order));
        assert!(!agrees(&[hit(1, 0.5), hit(2, 0.4)], &[hit(1, 0.5)], Aspect::Order));
    }

    #[test]
    fn a_field_too_many_is_a_difference_of_content() {
        let more = json!({ "id": 1, "extra": true });
        assert!(agrees(&[json!({ "id": 1 })], &[json!({ "id": 1, "_rankingScore": 1.0 })], Aspect::Content));
        assert!(!agrees(&[json!({ "id": 1 })], &[more], Aspect::Content));
    }

    #[test]
    fn the_order_of_facet_values_counts() {
        let a = json!({ "hits": [], "facetDistribution": { "f": { "x": 1, "y": 1 } } });
        let b = json!({ "hits": [], "facetDistribution": { "f": { "y": 1, "x": 1 } } });
        assert!(compare(&a, &a).contains(&(Aspect::Facets, true)));
        assert!(compare(&a, &b).contains(&(Aspect::Facets, false)));
    }

    #[test]
    fn leaks_are_seen_by_name_and_by_encoding() {
        assert!(leaks("{\"_miroir_shard\":1}") && leaks("a\u{2055}b") && !leaks("a\u{2057}…b"));
    }
}
