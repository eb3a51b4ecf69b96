//! Facet counts of disjoint parts of an index, made into those of the whole.
//!
//! Meilisearch writes the numbers among a facet's values before the strings, without telling them apart. They are told
//! apart here by where they stand, by what they look like and by the facet's statistics, which exist for numbers alone.

mod check;

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};

use unicode_normalization::UnicodeNormalization;

use crate::base::json::visit::key_text;
use crate::base::json::{self, SyntaxError};
use crate::base::strip;
use crate::read::multi_search::MergeFacets;
use crate::read::rank;
use crate::read::search::IndexView;
use crate::settings::SortBy;

pub use check::refusal;

/// Up to so many candidates Meilisearch lists a facet's numbers in the order of their text, beyond by value.
const SORTED_AS_TEXT: u64 = 3000;

/// One node's raw `facetDistribution` and `facetStats`, and the hits that they are about.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacets<'a> {
    /// A raw object of objects.
    pub distribution: &'a [u8],
    /// A raw object of `{"min":…,"max":…}`.
    pub stats: &'a [u8],
    /// The node's total of hits.
    pub candidates: u64,
}

/// Text as Meilisearch compares facet values: trimmed, decomposed, in lower case.
pub fn fold(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim();
    if trimmed.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(trimmed);
    }
    if trimmed.is_ascii() {
        return Cow::Owned(trimmed.to_ascii_lowercase());
    }
    Cow::Owned(trimmed.nfkd().collect::<String>().to_lowercase())
}

/// Text as Meilisearch keeps facet values, to sort by them and to tell them apart: folded, and cut to what fits.
pub fn key(text: &str) -> Cow<'_, str> {
    /// Bytes; a character that would go beyond is left out.
    const KEPT: usize = 468;
    match fold(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..text.floor_char_boundary(KEPT)).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(KEPT));
            Cow::Owned(text)
        }
    }
}

/// A facet's values in order, each with its count of hits.
type Values<'a> = Vec<(Cow<'a, str>, u64)>;

/// Facets of the whole, ordered and cut as the client's settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets<'a> {
    /// By name; the values in order.
    distribution: Vec<(Cow<'a, str>, Values<'a>)>,
    /// By name.
    stats: Vec<(Cow<'a, str>, Bounds<'a>)>,
}

impl Facets<'_> {
    /// Appends two members of these names, without a comma before them.
    pub fn write(&self, distribution: &str, stats: &str, out: &mut Vec<u8>) {
        let comma = |position: usize, out: &mut Vec<u8>| {
            if position > 0 {
                out.push(b',');
            }
        };
        json::quote_into(distribution, out);
        out.extend_from_slice(b":{");
        for (position, (name, values)) in self.distribution.iter().enumerate() {
            comma(position, out);
            json::quote_into(name, out);
            out.extend_from_slice(b":{");
            for (position, (label, hits)) in values.iter().enumerate() {
                comma(position, out);
                json::quote_into(label, out);
                out.push(b':');
                out.extend_from_slice(hits.to_string().as_bytes());
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"},");
        json::quote_into(stats, out);
        out.extend_from_slice(b":{");
        for (position, (name, bounds)) in self.stats.iter().enumerate() {
            comma(position, out);
            json::quote_into(name, out);
            for part in [&b":{\"min\":"[..], bounds.min, b",\"max\":", bounds.max, b"}"] {
                out.extend_from_slice(part);
            }
        }
        out.push(b'}');
    }
}

/// The facets of all nodes together; `total` is the merged total of hits.
///
/// # Errors
/// Which node's facets are not an object of objects of counts, and why.
pub fn merged<'a>(
    nodes: &[NodeFacets<'a>],
    total: u64,
    index: &IndexView<'_>,
) -> Result<Facets<'a>, (usize, SyntaxError)> {
    let mut stats: BTreeMap<Cow<'a, str>, Bounds<'a>> = BTreeMap::new();
    let mut facets: BTreeMap<Cow<'a, str>, Facet<'a>> = BTreeMap::new();
    for (position, node) in nodes.iter().enumerate() {
        let of_node = add_stats(node, &mut stats).map_err(|fault| (position, fault))?;
        add_distribution(node, &of_node, index, &mut facets).map_err(|fault| (position, fault))?;
    }
    let ordered = |(name, facet): (Cow<'a, str>, Facet<'a>)| {
        let values = facet.ordered(index.facet_order(&name), total, index.max_values_per_facet);
        (name, values)
    };
    Ok(Facets { distribution: facets.into_iter().map(ordered).collect(), stats: stats.into_iter().collect() })
}

/// One facet of several indexes.
struct Joined<'a> {
    order: SortBy,
    counts: BTreeMap<Cow<'a, str>, u64>,
}

/// The facets of several indexes as one: values of the same spelling are one value, and all are ordered by their text or
/// by their counts.
///
/// # Errors
/// The facet whose values the indexes order in different ways.
pub fn join<'a, 'i>(
    indexes: impl Iterator<Item = (Facets<'a>, &'i IndexView<'i>)>,
    bound: MergeFacets,
) -> Result<Facets<'a>, String> {
    let mut joined: BTreeMap<Cow<'a, str>, Joined<'a>> = BTreeMap::new();
    let mut stats: BTreeMap<Cow<'a, str>, Bounds<'a>> = BTreeMap::new();
    for (facets, index) in indexes {
        for (name, values) in facets.distribution {
            let order = index.facet_order(&name);
            let facet = joined.entry(name.clone()).or_insert_with(|| Joined { order, counts: BTreeMap::new() });
            if facet.order != order {
                return Err(name.into_owned());
            }
            for (label, hits) in values {
                let count = facet.counts.entry(label).or_default();
                *count = count.saturating_add(hits);
            }
        }
        for (name, bounds) in facets.stats {
            stats.entry(name).or_insert(bounds).widen(bounds);
        }
    }
    let distribution = joined.into_iter().map(|(name, Joined { order, counts })| {
        let mut values: Values<'a> = counts.into_iter().collect();
        if order == SortBy::Count {
            values.sort_by_key(|(_, hits)| Reverse(*hits));
        }
        values.truncate(bound.max_values_per_facet.unwrap_or(usize::MAX));
        (name, values)
    });
    Ok(Facets { distribution: distribution.collect(), stats: stats.into_iter().collect() })
}

/// The least and the greatest number of a facet, as a node wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds<'a> {
    min: &'a [u8],
    max: &'a [u8],
}

impl Bounds<'_> {
    fn widen(&mut self, other: Self) {
        if rank::number(other.min) < rank::number(self.min) {
            self.min = other.min;
        }
        if rank::number(other.max) > rank::number(self.max) {
            self.max = other.max;
        }
    }

    fn holds(&self, number: f64) -> bool {
        let within = |raw, sign: f64| rank::number(raw).is_none_or(|bound| (number - bound) * sign >= 0.0);
        within(self.min, 1.0) && within(self.max, -1.0)
    }
}

fn fault(reason: &'static str) -> SyntaxError {
    SyntaxError { offset: 0, reason }
}

/// Widens the bounds by a node's, which are returned.
fn add_stats<'a>(
    node: &NodeFacets<'a>,
    stats: &mut BTreeMap<Cow<'a, str>, Bounds<'a>>,
) -> Result<Vec<(Cow<'a, str>, Bounds<'a>)>, SyntaxError> {
    let mut of_node = Vec::new();
    for member in json::members(node.stats)? {
        let member = member?;
        if strip::is_ours(member.key) {
            continue;
        }
        let bound = |name| {
            json::get(member.value, name)?
                .filter(|raw| rank::number(raw).is_some())
                .ok_or_else(|| fault("facet statistics that are not numbers"))
        };
        let bounds = Bounds { min: bound("min")?, max: bound("max")? };
        let name = key_text(member.key);
        of_node.push((name.clone(), bounds));
        stats.entry(name).or_insert(bounds).widen(bounds);
    }
    Ok(of_node)
}

/// One facet's values, from all nodes.
#[derive(Default)]
struct Facet<'a> {
    numbers: HashMap<Cow<'a, str>, Count<'a>>,
    /// By their folded form.
    strings: HashMap<Cow<'a, str>, Count<'a>>,
}

struct Count<'a> {
    /// As the first node that has the value spells it.
    label: Cow<'a, str>,
    /// Of a number.
    value: f64,
    hits: u64,
}

fn add_distribution<'a>(
    node: &NodeFacets<'a>,
    stats: &[(Cow<'a, str>, Bounds<'a>)],
    index: &IndexView<'_>,
    facets: &mut BTreeMap<Cow<'a, str>, Facet<'a>>,
) -> Result<(), SyntaxError> {
    for member in json::members(node.distribution)? {
        let member = member?;
        if strip::is_ours(member.key) {
            continue;
        }
        let name = key_text(member.key);
        let bounds = stats.iter().find(|(known, _)| *known == name).map(|(_, bounds)| *bounds);
        let mut run = bounds.map(|bounds| NumberRun {
            bounds,
            order: index.facet_order(&name),
            as_text: node.candidates <= SORTED_AS_TEXT,
            last: None,
        });
        let facet = facets.entry(name).or_default();
        for value in json::members(member.value)? {
            let value = value?;
            let hits = std::str::from_utf8(value.value).ok().and_then(|digits| digits.parse().ok());
            let hits: u64 = hits.ok_or_else(|| fault("a facet count that is not a number"))?;
            let label = key_text(value.key);
            let number = run.as_mut().and_then(|run| run.take(&label, hits));
            if number.is_none() {
                // Strings follow the numbers: what comes after one is a string too.
                run = None;
            }
            facet.add(label, number, hits);
        }
    }
    Ok(())
}

/// The numbers at the head of a node's list of values.
struct NumberRun<'a> {
    bounds: Bounds<'a>,
    order: SortBy,
    as_text: bool,
    last: Option<(String, f64, u64)>,
}

impl NumberRun<'_> {
    /// The number that `label` stands for, if it can be one and may stand behind those before it.
    fn take(&mut self, label: &str, hits: u64) -> Option<f64> {
        let digits = label.strip_prefix('-').unwrap_or(label);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let number: f64 = label.parse().ok()?;
        // Meilisearch writes numbers in this one way; `01`, `1.0` and `1e3` are strings.
        if !self.bounds.holds(number) || number.to_string() != label {
            return None;
        }
        let follows = self.last.as_ref().is_none_or(|(text, value, count)| match self.order {
            SortBy::Count => hits <= *count,
            SortBy::Alpha if self.as_text => text.as_str() < label,
            SortBy::Alpha => *value < number,
        });
        if !follows {
            return None;
        }
        self.last = Some((label.to_owned(), number, hits));
        Some(number)
    }
}

impl<'a> Facet<'a> {
    fn add(&mut self, label: Cow<'a, str>, number: Option<f64>, hits: u64) {
        let (values, key) = match number {
            Some(_) => (&mut self.numbers, label.clone()),
            None => (&mut self.strings, folded(&label)),
        };
        let value = number.unwrap_or_default();
        let count = values.entry(key).or_insert(Count { label, value, hits: 0 });
        count.hits = count.hits.saturating_add(hits);
    }

    /// The facet's values in order, at most `limit` of them.
    fn ordered(mut self, order: SortBy, total: u64, limit: usize) -> Values<'a> {
        // A string that reads like a number of the same facet takes its place and count, as in one Meilisearch.
        let numbers = &mut self.numbers;
        self.strings.retain(|_, string| match numbers.get_mut(&string.label) {
            Some(number) => {
                number.hits = string.hits;
                false
            }
            None => true,
        });
        let mut numbers: Vec<Count<'_>> = self.numbers.into_values().collect();
        let mut strings: Vec<(Cow<'_, str>, Count<'_>)> = self.strings.into_iter().collect();
        match order {
            SortBy::Alpha if total <= SORTED_AS_TEXT => numbers.sort_unstable_by(|a, b| a.label.cmp(&b.label)),
            SortBy::Alpha => numbers.sort_unstable_by(|a, b| by_value(a, b)),
            SortBy::Count => numbers.sort_unstable_by(|a, b| b.hits.cmp(&a.hits).then_with(|| by_value(b, a))),
        }
        match order {
            SortBy::Alpha => strings.sort_unstable_by(|a, b| a.0.cmp(&b.0)),
            // Among equal counts Meilisearch lists the last value first.
            SortBy::Count => strings.sort_unstable_by(|a, b| (Reverse(a.1.hits), &b.0).cmp(&(Reverse(b.1.hits), &a.0))),
        }
        let values = numbers.into_iter().chain(strings.into_iter().map(|(_, string)| string));
        values.take(limit).map(|count| (count.label, count.hits)).collect()
    }
}

fn by_value(a: &Count<'_>, b: &Count<'_>) -> Ordering {
    a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal)
}

/// The folded form with the lifetime of what it was folded from, where that is borrowed.
fn folded<'a>(label: &Cow<'a, str>) -> Cow<'a, str> {
    match label {
        Cow::Borrowed(text) => key(text),
        Cow::Owned(text) => Cow::Owned(key(text).into_owned()),
    }
}

#[cfg(test)]
mod tests;
