//! How hits of different queries compare in a federation: value by value, the scores of each multiplied by its weight.
//!
//! Relevance rules that follow one another count as one score. Where sort rules stand between relevance rules, nodes do
//! not show the scores of the runs, which are then made up from those of the rules: exactly for words and typos, and for
//! proximity as far as phrases and compound words do not change its scale. A single run's score is exact.

use std::cmp::Ordering;

use super::{Detail, RankingDetail, SortValue};
use crate::base::json::visit::key_text;
use crate::base::json::{self, Scanner, SyntaxError};

/// A hit's value in one place of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WeightedValue<'a> {
    /// Of a run of relevance rules, or a similarity; weighted.
    Score(f64),
    /// Of an attribute.
    Sort { ascending: bool, value: SortValue<'a> },
    /// Metres from a point.
    Geo { ascending: bool, distance: Option<f64> },
}

/// What a hit of a federation is compared by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weighted<'a> {
    values: Vec<WeightedValue<'a>>,
    /// The overall score, weighted.
    score: f64,
}

/// One relevance rule: its score, and the number of ranks it tells apart.
#[derive(Clone, Copy)]
struct Graded {
    score: f64,
    ranks: f64,
}

/// Ranks of a rule whose scale nodes do not show.
const MANY_RANKS: f64 = 100.0;
/// How far apart two words can be told to be.
const DISTANCES: f64 = 7.0;

impl<'a> Weighted<'a> {
    /// From the raw `_rankingScoreDetails` and the overall score, before weighing.
    pub fn read(details: &'a [u8], score: f64, weight: f64) -> Result<Self, SyntaxError> {
        let mut rules: Vec<(u32, std::borrow::Cow<'a, str>, &'a [u8])> = Vec::new();
        for member in json::members(details)? {
            let member = member?;
            let detail = Detail::read(&mut Scanner::new(member.value, 0))?;
            rules.push((detail.order, key_text(member.key), member.value));
        }
        rules.sort_by_key(|(order, _, _)| *order);
        let mut values = Vec::with_capacity(rules.len());
        let mut run: Vec<Graded> = Vec::new();
        let mut runs = 0;
        let mut words = 1.0;
        for (_, name, raw) in &rules {
            let detail = Detail::read(&mut Scanner::new(raw, 0))?;
            words = detail.words.filter(|_| name == "words").unwrap_or(words);
            let ranks = ranks(name, raw, words);
            let graded = detail.score;
            let value = match detail.rule(name.as_bytes()) {
                RankingDetail::Pin(_) => continue,
                RankingDetail::Words(_) | RankingDetail::Typo(_) | RankingDetail::Score(_) => {
                    run.push(Graded { score: graded.unwrap_or_default(), ranks });
                    continue;
                }
                RankingDetail::Skipped => {
                    run.push(Graded { score: 0.0, ranks: 1.0 });
                    continue;
                }
                RankingDetail::Sort { ascending, value } => WeightedValue::Sort { ascending, value },
                RankingDetail::Geo { ascending, distance } => WeightedValue::Geo { ascending, distance },
                // Without a vector it counts as none.
                RankingDetail::Similarity(similarity) => WeightedValue::Score(similarity.max(0.0) * weight),
            };
            runs += usize::from(close(&mut run, weight, &mut values));
            values.push(value);
        }
        runs += usize::from(close(&mut run, weight, &mut values));
        let has_similarity = rules.iter().any(|(_, name, _)| name == "vectorSort");
        if runs == 1
            && !has_similarity
            && let Some(only) = values.iter_mut().find(|value| matches!(value, WeightedValue::Score(_)))
        {
            *only = WeightedValue::Score(score * weight);
        }
        Ok(Self { values, score: score * weight })
    }

    /// `Less` when `self` comes first, as within one server.
    pub fn compare(&self, other: &Self) -> Ordering {
        let mut pairs = self.values.iter().zip(&other.values).enumerate();
        let decided = pairs.find_map(|(position, (ours, theirs))| match ours.compare(theirs) {
            Some(Ordering::Equal) => None,
            Some(order) => Some(order),
            // Not comparable: whoever has more left to compare comes first, else the overall score decides.
            None => {
                let left = |all: &[WeightedValue<'_>]| all.len() - position;
                let more = left(&other.values).cmp(&left(&self.values));
                Some(more.then_with(|| other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal)))
            }
        });
        decided.unwrap_or_else(|| other.values.len().cmp(&self.values.len()))
    }
}

/// Ends a run of relevance rules. Returns whether there was one.
fn close(run: &mut Vec<Graded>, weight: f64, values: &mut Vec<WeightedValue<'_>>) -> bool {
    let combined = run.drain(..).rev().reduce(|inner, outer| Graded {
        score: outer.score - (1.0 - inner.score) / outer.ranks,
        ranks: outer.ranks * inner.ranks,
    });
    let Some(combined) = combined else { return false };
    values.push(WeightedValue::Score(combined.score * weight));
    true
}

fn ranks(name: &str, raw: &[u8], words: f64) -> f64 {
    let member = |key| json::get(raw, key).ok().flatten().and_then(super::number);
    let ranks = match name {
        "words" => member("maxMatchingWords"),
        "typo" => member("maxTypoCount").map(|most| most + 1.0),
        "proximity" => Some(DISTANCES * (words - 1.0) + 1.0),
        "exactness" => Some(3.0 * (member("maxMatchingWords").unwrap_or_default() + 1.0)),
        _ => None,
    };
    ranks.unwrap_or(MANY_RANKS).max(1.0)
}

impl WeightedValue<'_> {
    /// `Less` when `self` comes first; `None` when the two do not compare.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Score(ours), Self::Score(theirs)) => Some(super::falling(*ours, *theirs)),
            (Self::Sort { ascending, value: ours }, Self::Sort { ascending: theirs_ascending, value: theirs }) => {
                (ascending == theirs_ascending).then(|| ours.compare(theirs, *ascending))
            }
            (Self::Geo { ascending, distance: ours }, Self::Geo { ascending: theirs_ascending, distance: theirs }) => {
                // Between queries, one server takes the farther hit first in both directions.
                (ascending == theirs_ascending).then(|| super::falling_options(*ours, *theirs))
            }
            (Self::Score(_) | Self::Sort { .. } | Self::Geo { .. }, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order(a: (&Value, f64, f64), b: (&Value, f64, f64)) -> Ordering {
        let (left, right) = (a.0.to_string(), b.0.to_string());
        let a = Weighted::read(left.as_bytes(), a.1, a.2).expect("details");
        let b = Weighted::read(right.as_bytes(), b.1, b.2).expect("details");
        assert_eq!(a.compare(&b), b.compare(&a).reverse());
        a.compare(&b)
    }

    fn words(matching: u64, most: u64) -> Value {
        json!({"order": 0, "matchingWords": matching, "maxMatchingWords": most, "score": matching as f64 / most as f64})
    }

    #[test]
    fn a_single_run_compares_by_the_overall_score_and_weight() {
        let details =
            json!({"words": words(2, 2), "typo": {"order": 1, "typoCount": 0, "maxTypoCount": 2, "score": 1.0}});
        assert_eq!(order((&details, 0.9, 1.0), (&details, 0.8, 1.0)), Ordering::Less);
        assert_eq!(order((&details, 0.9, 0.5), (&details, 0.8, 1.0)), Ordering::Greater);
        assert_eq!(order((&details, 0.9, 2.0), (&details, 0.9, 2.0)), Ordering::Equal);
    }

    #[test]
    fn sort_rules_between_relevance_rules_compare_by_value() {
        let details = |words: Value, value: Value, score: f64| json!({"words": words, "size:asc": {"order": 1, "value": value}, "exactness": {"order": 2, "score": score}});
        let full = details(words(2, 2), json!(5), 0.3);
        let lower = details(words(2, 2), json!(4), 0.1);
        assert_eq!(order((&full, 0.9, 1.0), (&lower, 0.7, 1.0)), Ordering::Greater);
        let fewer = details(words(1, 2), json!(1), 1.0);
        assert_eq!(order((&full, 0.9, 1.0), (&fewer, 0.99, 1.0)), Ordering::Less);
        let same = details(words(2, 2), json!(5), 0.6);
        assert_eq!(order((&full, 0.9, 1.0), (&same, 0.95, 1.0)), Ordering::Greater);
    }

    #[test]
    fn keyword_and_semantic_hits_compare_by_weighted_score() {
        let keyword = json!({"words": words(1, 1)});
        let semantic = json!({"vectorSort": {"order": 0, "similarity": 0.8}});
        assert_eq!(order((&keyword, 1.0, 1.0), (&semantic, 0.8, 1.0)), Ordering::Less);
        assert_eq!(order((&keyword, 1.0, 0.5), (&semantic, 0.8, 1.0)), Ordering::Greater);
    }

    #[test]
    fn a_run_is_made_up_of_its_rules() {
        let details = |typos: u64| {
            json!({
                "words": words(2, 2),
                "typo": {"order": 1, "typoCount": typos, "maxTypoCount": 3, "score": (4.0 - typos as f64) / 4.0},
                "size:desc": {"order": 2, "value": 1},
                "exactness": {"order": 3, "score": 1.0},
            })
        };
        let raw = details(1).to_string();
        let read = Weighted::read(raw.as_bytes(), 0.5, 1.0).expect("details");
        // 2 of 2 words and 3 of 4 ranks: (1 * 4 + 3) / 8.
        assert_eq!(read.values.first(), Some(&WeightedValue::Score(0.875)));
        assert_eq!(order((&details(0), 0.5, 1.0), (&details(1), 0.5, 1.0)), Ordering::Less);
    }
}
