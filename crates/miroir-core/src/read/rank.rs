//! How two hits of different nodes compare: rule by rule, in the order in which the ranking rules were applied.
//!
//! `words` and `typo` are compared by what they count, not by their scores: the scale of those depends on the words that
//! a node knows and differs between nodes for the same match. Every other rule compares by what does not depend on the
//! node.

mod weighted;

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::base::json::visit::{each_member, take_value};
use crate::base::json::{self, Scanner, SyntaxError};

pub(crate) use weighted::Weighted;

/// What one ranking rule says about a hit.
#[derive(Clone, Debug, PartialEq)]
pub enum RankingDetail<'a> {
    /// Pinned to a position, lowest first.
    Pin(f64),
    /// Query words matched, most first.
    Words(f64),
    /// Typos in the matched words, fewest first.
    Typo(f64),
    /// Any other relevance rule, highest first.
    Score(f64),
    /// The value of an attribute.
    Sort {
        /// Lowest first.
        ascending: bool,
        /// As the node's order sees it.
        value: SortValue<'a>,
    },
    /// Metres from a point, `None` without a place.
    Geo {
        /// Nearest first; farthest first otherwise. Hits without a place are last in both.
        ascending: bool,
        /// Metres.
        distance: Option<f64>,
    },
    /// Similarity of vectors, highest first; of a hit without a vector, less than any.
    Similarity(f64),
    /// The search was cut off before this rule.
    Skipped,
}

/// A sort attribute's value: numbers before strings before nothing, in both directions.
#[derive(Clone, Debug, PartialEq)]
pub enum SortValue<'a> {
    /// A number.
    Number(f64),
    /// Text, which nodes return trimmed, decomposed and in lower case.
    Text(Cow<'a, str>),
    /// Null, missing or empty.
    Absent,
}

/// What a hit is compared by. Reused from hit to hit.
#[derive(Clone, Debug, Default)]
pub struct Rank<'a> {
    /// In the order of their application.
    rules: Vec<(u32, RankingDetail<'a>)>,
    /// `_rankingScore`.
    pub score: Option<f64>,
    /// Whether the hit was found by its vector.
    pub semantic: bool,
}

impl<'a> Rank<'a> {
    /// Forgets the hit.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.score = None;
        self.semantic = false;
    }

    /// Whether the hit was found by vectors and has none.
    pub(crate) fn has_no_vector(&self) -> bool {
        self.rules.iter().any(|(_, rule)| *rule == RankingDetail::Similarity(f64::NEG_INFINITY))
    }

    /// The position that a rule gives to the hit.
    pub(crate) fn pin(&self) -> Option<u32> {
        match self.rules.first() {
            Some((_, RankingDetail::Pin(position))) => Some(*position as u32),
            _ => None,
        }
    }

    /// Moves past `_rankingScoreDetails`, which starts here, and remembers what it says.
    pub(crate) fn read_details(&mut self, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        if scanner.peek() != Some(b'{') {
            return take_value(scanner).map(drop);
        }
        each_member(scanner, |scanner, name, _| {
            if scanner.peek() != Some(b'{') {
                return take_value(scanner).map(drop);
            }
            let detail = Detail::read(scanner)?;
            self.rules.push((detail.order, detail.rule(name)));
            Ok(())
        })?;
        if !self.rules.is_sorted_by_key(|(order, _)| *order) {
            self.rules.sort_by_key(|(order, _)| *order);
        }
        self.semantic = self.rules.iter().any(|(_, rule)| matches!(rule, RankingDetail::Similarity(_)));
        Ok(())
    }

    /// `Less` when `self` comes first. `semantic_ratio` weighs semantic against keyword hits of a hybrid search.
    pub fn compare(&self, other: &Self, semantic_ratio: f64) -> Ordering {
        if self.semantic != other.semantic {
            return self.compare_kinds(other, semantic_ratio);
        }
        let mut pairs = self.rules.iter().zip(&other.rules);
        let decided = pairs.find_map(|((_, ours), (_, theirs))| match ours.compare(theirs) {
            Some(Ordering::Equal) => None,
            Some(order) => Some(order),
            // Not the same rules: only the overall scores compare.
            None => Some(falling_options(self.score, other.score)),
        });
        decided.unwrap_or_else(|| {
            if self.rules.len() == other.rules.len() && !self.rules.is_empty() {
                Ordering::Equal
            } else {
                falling_options(self.score, other.score)
            }
        })
    }

    /// A keyword hit against a semantic one. Sort rules before the first relevance rule come first; then the overall
    /// scores, which nodes show unscaled. On a tie the semantic hit comes first.
    fn compare_kinds(&self, other: &Self, semantic_ratio: f64) -> Ordering {
        for ((_, ours), (_, theirs)) in self.rules.iter().zip(&other.rules) {
            let comparable =
                matches!(ours, RankingDetail::Sort { .. } | RankingDetail::Geo { .. } | RankingDetail::Pin(_));
            match ours.compare(theirs).filter(|_| comparable) {
                Some(Ordering::Equal) => {}
                Some(order) => return order,
                None => break,
            }
        }
        let scaled = |rank: &Self| {
            rank.score.unwrap_or_default() * if rank.semantic { semantic_ratio } else { 1.0 - semantic_ratio }
        };
        falling(scaled(self), scaled(other)).then_with(|| other.semantic.cmp(&self.semantic))
    }
}

impl RankingDetail<'_> {
    /// `Less` when `self` comes first; `None` when the two are not of the same rule.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Pin(ours), Self::Pin(theirs)) | (Self::Typo(ours), Self::Typo(theirs)) => falling(*theirs, *ours),
            (Self::Pin(_), _) => Ordering::Less,
            (_, Self::Pin(_)) => Ordering::Greater,
            (Self::Words(ours), Self::Words(theirs))
            | (Self::Score(ours), Self::Score(theirs))
            | (Self::Similarity(ours), Self::Similarity(theirs)) => falling(*ours, *theirs),
            (Self::Sort { ascending, value: ours }, Self::Sort { value: theirs, .. }) => {
                ours.compare(theirs, *ascending)
            }
            (Self::Geo { ascending, distance: ours }, Self::Geo { distance: theirs, .. }) => match (ours, theirs) {
                (Some(ours), Some(theirs)) if *ascending => falling(*theirs, *ours),
                (Some(ours), Some(theirs)) => falling(*ours, *theirs),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            },
            (Self::Skipped, Self::Skipped) => Ordering::Equal,
            (
                Self::Words(_)
                | Self::Typo(_)
                | Self::Score(_)
                | Self::Similarity(_)
                | Self::Sort { .. }
                | Self::Geo { .. }
                | Self::Skipped,
                _,
            ) => return None,
        })
    }
}

impl SortValue<'_> {
    fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let directed = |order: Ordering| if ascending { order } else { order.reverse() };
        match (self, other) {
            (Self::Number(ours), Self::Number(theirs)) => directed(ours.partial_cmp(theirs).unwrap_or(Ordering::Equal)),
            (Self::Text(ours), Self::Text(theirs)) => directed(ours.as_bytes().cmp(theirs.as_bytes())),
            (ours, theirs) => ours.kind().cmp(&theirs.kind()),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Text(_) => 1,
            Self::Absent => 2,
        }
    }
}

/// Higher first; what differs by no more than f64's epsilon is equal.
fn falling(ours: f64, theirs: f64) -> Ordering {
    if (ours - theirs).abs() <= f64::EPSILON {
        return Ordering::Equal;
    }
    theirs.partial_cmp(&ours).unwrap_or(Ordering::Equal)
}

/// Likewise; a hit without a score comes last.
fn falling_options(ours: Option<f64>, theirs: Option<f64>) -> Ordering {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => falling(ours, theirs),
        (ours, theirs) => theirs.is_some().cmp(&ours.is_some()),
    }
}

/// One rule's raw details.
#[derive(Default)]
struct Detail<'a> {
    order: u32,
    words: Option<f64>,
    typos: Option<f64>,
    score: Option<f64>,
    position: Option<f64>,
    similarity: Option<f64>,
    value: Option<&'a [u8]>,
    distance: Option<&'a [u8]>,
}

impl<'a> Detail<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, SyntaxError> {
        let mut detail = Self::default();
        each_member(scanner, |scanner, key, _| {
            let raw = take_value(scanner)?;
            match key {
                b"order" => detail.order = number(raw).map_or(u32::MAX, |order| order as u32),
                b"matchingWords" => detail.words = number(raw),
                b"typoCount" => detail.typos = number(raw),
                b"score" => detail.score = number(raw),
                b"position" => detail.position = number(raw),
                b"similarity" => detail.similarity = number(raw),
                b"value" => detail.value = Some(raw),
                b"distance" => detail.distance = Some(raw),
                _ => {}
            }
            Ok(())
        })?;
        Ok(detail)
    }

    fn rule(self, name: &[u8]) -> RankingDetail<'a> {
        match (name, &self) {
            (b"pin", Self { position: Some(position), .. }) => return RankingDetail::Pin(*position),
            (b"words", Self { words: Some(words), .. }) => return RankingDetail::Words(*words),
            (b"typo", Self { typos: Some(typos), .. }) => return RankingDetail::Typo(*typos),
            (b"vectorSort", Self { value: None, .. }) => {
                return RankingDetail::Similarity(self.similarity.unwrap_or(f64::NEG_INFINITY));
            }
            _ => {}
        }
        let ascending = !name.ends_with(b":desc");
        match (self.distance, self.value, self.score) {
            (Some(raw), _, _) => RankingDetail::Geo { ascending, distance: number(raw) },
            (None, Some(raw), _) => RankingDetail::Sort { ascending, value: sort_value(raw) },
            (None, None, Some(score)) => RankingDetail::Score(score),
            (None, None, None) => RankingDetail::Skipped,
        }
    }
}

fn sort_value(raw: &[u8]) -> SortValue<'_> {
    match raw {
        b"true" | b"false" => SortValue::Text(String::from_utf8_lossy(raw)),
        [b'"', ..] => json::unquote(raw).map_or(SortValue::Absent, SortValue::Text),
        _ => number(raw).map_or(SortValue::Absent, SortValue::Number),
    }
}

/// A raw JSON number's value.
#[inline]
pub(crate) fn number(raw: &[u8]) -> Option<f64> {
    match raw {
        [digit @ b'0'..=b'9'] | [digit @ b'0'..=b'9', b'.', b'0'] => Some(f64::from(digit - b'0')),
        [b'-' | b'0'..=b'9', ..] => std::str::from_utf8(raw).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
