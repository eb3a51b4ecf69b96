//! Documents fetched in the order of attributes: each node's list is in order, and here they become one.
//!
//! A document takes its place by value: numbers before texts in both directions, places by their distance, and documents
//! without the attribute last. As with one server, one that holds both a number and a text is listed at both places, and
//! one whose value is null or empty is not listed by its node at all.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use crate::base::json::{self, SyntaxError};
use crate::read::facet::key;
use crate::read::merge::project;
use crate::read::rank;
use crate::read::search::covers;

/// The order that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorting(Vec<Criterion>);

#[derive(Clone, Debug, PartialEq)]
struct Criterion {
    by: By,
    ascending: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum By {
    Attribute(String),
    /// Degrees of latitude and longitude.
    Point(f64, f64),
}

/// Where one criterion puts a document.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Number(f64),
    Text(String),
    /// A measure of distance that grows with it.
    Distance(f64),
    Missing,
}

const GEO: &str = "_geo";

impl Sorting {
    /// From expressions such as `price:asc` and `_geoPoint(1.5, 2):desc`; `None` when one is not of that form.
    pub fn parse(expressions: &[String]) -> Option<Self> {
        let criterion = |text: &String| {
            let (by, direction) = text.rsplit_once(':')?;
            let ascending = match direction {
                "asc" => true,
                "desc" => false,
                _ => return None,
            };
            let by = match by.strip_prefix("_geoPoint(") {
                Some(point) => {
                    let (lat, lng) = point.strip_suffix(')')?.split_once(',')?;
                    By::Point(lat.trim().parse().ok()?, lng.trim().parse().ok()?)
                }
                None => By::Attribute(by.to_owned()),
            };
            Some(Criterion { by, ascending })
        };
        expressions.iter().map(criterion).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The attributes that places are made of.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|criterion| match &criterion.by {
            By::Attribute(name) => name.as_str(),
            By::Point(..) => GEO,
        })
    }

    /// The places of a document by each criterion.
    fn choices(&self, document: &[u8]) -> Vec<Vec<Place>> {
        self.0.iter().map(|criterion| criterion.places(document)).collect()
    }

    fn compare(&self, a: &[Place], b: &[Place]) -> Ordering {
        let pairs = self.0.iter().zip(a.iter().zip(b));
        pairs.map(|(criterion, (a, b))| criterion.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl Criterion {
    /// Never empty.
    fn places(&self, document: &[u8]) -> Vec<Place> {
        let places = match &self.by {
            By::Attribute(path) => self.places_at(document, path),
            By::Point(lat, lng) => distance_of(document, *lat, *lng).map(Place::Distance).into_iter().collect(),
        };
        if places.is_empty() { vec![Place::Missing] } else { places }
    }

    /// The least or greatest number, then the least or greatest text.
    fn places_at(&self, document: &[u8], path: &str) -> Vec<Place> {
        let (mut number, mut text): (Option<f64>, Option<String>) = (None, None);
        visit(document, path, &mut |raw| {
            if let Some(value) = rank::number(raw) {
                if number.is_none_or(|known| (value < known) == self.ascending) {
                    number = Some(value);
                }
                return;
            }
            let value = match raw {
                b"true" | b"false" => Some(Cow::Owned(String::from_utf8_lossy(raw).into_owned())),
                _ => json::unquote(raw),
            };
            // An empty text is none; one of spaces alone is the first of all texts.
            let Some(value) = value.filter(|value| !value.is_empty()).map(|value| key(&value).into_owned()) else {
                return;
            };
            if text.as_ref().is_none_or(|known| (value < *known) == self.ascending) {
                text = Some(value);
            }
        });
        number.map(Place::Number).into_iter().chain(text.map(Place::Text)).collect()
    }

    fn compare(&self, a: &Place, b: &Place) -> Ordering {
        let directed = |order: Ordering| if self.ascending { order } else { order.reverse() };
        match (a, b) {
            (Place::Number(a), Place::Number(b)) | (Place::Distance(a), Place::Distance(b)) => {
                directed(a.partial_cmp(b).unwrap_or(Ordering::Equal))
            }
            (Place::Text(a), Place::Text(b)) => directed(a.cmp(b)),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }
}

impl Place {
    fn kind(&self) -> u8 {
        match self {
            Self::Number(_) | Self::Distance(_) => 0,
            Self::Text(_) => 1,
            Self::Missing => 2,
        }
    }
}

/// Visits the raw scalars at `path` below a raw object, through arrays. The scanner has bounded how deep values nest.
fn visit<'a>(raw: &'a [u8], path: &str, found: &mut impl FnMut(&'a [u8])) {
    match raw.first() {
        Some(b'{') => {
            for member in json::members(raw).into_iter().flatten().flatten() {
                let key = member.key_text();
                let Some(rest) = path.strip_prefix(&*key) else { continue };
                if rest.is_empty() {
                    scalars(member.value, found);
                } else if let Some(below) = rest.strip_prefix('.') {
                    visit(member.value, below, found);
                }
            }
        }
        Some(b'[') => {
            for element in json::elements(raw).into_iter().flatten().flatten() {
                visit(element, path, found);
            }
        }
        _ => {}
    }
}

/// Also those of lists in lists.
fn scalars<'a>(raw: &'a [u8], found: &mut dyn FnMut(&'a [u8])) {
    match raw.first() {
        Some(b'[') => {
            for element in json::elements(raw).into_iter().flatten().flatten() {
                scalars(element, found);
            }
        }
        _ => found(raw),
    }
}

/// A measure of how far from the point the document's place is; `None` without one.
fn distance_of(document: &[u8], lat: f64, lng: f64) -> Option<f64> {
    let geo = json::get(document, GEO).ok()??;
    let degrees = |name| {
        let raw = json::get(geo, name).ok()??;
        rank::number(raw).or_else(|| json::unquote(raw)?.parse().ok())
    };
    let (other_lat, other_lng): (f64, f64) = (degrees("lat")?, degrees("lng")?);
    // The haversine of the angle between the two grows with it.
    let half = |a: f64, b: f64| ((a - b).to_radians() / 2.0).sin().powi(2);
    Some(half(other_lat, lat) + lat.to_radians().cos() * other_lat.to_radians().cos() * half(other_lng, lng))
}

/// The lists of several nodes, taken as one, lazily: of each node no more is held than it has told and nobody has taken.
#[derive(Debug)]
pub struct Merger {
    sorting: Sorting,
    primary_key: String,
    lists: Vec<List>,
}

/// What one node has told.
#[derive(Debug, Default)]
struct List {
    /// In its order, each with its places.
    told: VecDeque<(Vec<Place>, Vec<u8>)>,
    /// How often a document that stands at several places has come.
    seen: HashMap<Vec<u8>, usize>,
    /// There is no more.
    ended: bool,
}

/// What can be taken next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This raw document.
    Document(Vec<u8>),
    /// Nothing before more is told of these lists.
    Needs(Vec<usize>),
    /// Nothing any more.
    Nothing,
}

impl Merger {
    /// Of so many lists. `primary_key` tells documents apart; ties are broken by the order of the lists.
    pub fn new(sorting: Sorting, primary_key: &str, lists: usize) -> Self {
        let lists = (0..lists).map(|_| List::default()).collect();
        Self { sorting, primary_key: primary_key.to_owned(), lists }
    }

    /// One more list, behind the others.
    pub fn add_list(&mut self) {
        self.lists.push(List::default());
    }

    /// Whether all that there is has been told.
    pub fn is_told(&self) -> bool {
        self.lists.iter().all(|list| list.ended)
    }

    /// The next raw documents of a list; `ended`: they are its last.
    ///
    /// # Errors
    /// When a document is not a JSON object.
    pub fn tell<'a>(
        &mut self,
        list: usize,
        documents: impl IntoIterator<Item = &'a [u8]>,
        ended: bool,
    ) -> Result<(), SyntaxError> {
        let Some(list) = self.lists.get_mut(list) else { return Ok(()) };
        list.ended |= ended;
        for document in documents {
            let choices = self.sorting.choices(document);
            let occurrence = if choices.iter().any(|choice| choice.len() > 1) {
                let id = json::get(document, &self.primary_key)?.unwrap_or(document);
                let seen = list.seen.entry(id.to_vec()).or_default();
                *seen += 1;
                *seen - 1
            } else {
                0
            };
            list.told.push_back((places(choices, occurrence), document.to_vec()));
        }
        Ok(())
    }

    /// Takes the next document of the whole.
    pub fn take(&mut self) -> Next {
        let open = self.lists.iter().enumerate().filter(|(_, list)| list.told.is_empty() && !list.ended);
        let open: Vec<usize> = open.map(|(position, _)| position).collect();
        if !open.is_empty() {
            return Next::Needs(open);
        }
        let heads =
            self.lists.iter().enumerate().filter_map(|(position, list)| Some((position, &list.told.front()?.0)));
        // The first of equal ones.
        let best = heads.reduce(|best, head| if self.sorting.compare(head.1, best.1).is_lt() { head } else { best });
        let taken = best.map(|(position, _)| position).and_then(|best| self.lists.get_mut(best)?.told.pop_front());
        taken.map_or(Next::Nothing, |(_, document)| Next::Document(document))
    }
}

/// Where a document stands for the nth time: the last criterion varies fastest.
fn places(choices: Vec<Vec<Place>>, occurrence: usize) -> Vec<Place> {
    let mut rest = occurrence;
    let mut places: Vec<Place> = choices
        .into_iter()
        .rev()
        .map(|mut choice| {
            let (round, position) = (rest / choice.len(), rest % choice.len());
            rest = round;
            choice.swap_remove(position)
        })
        .collect();
    places.reverse();
    places
}

/// The `fields` that nodes are asked for: the client's, and what the merge reads.
pub fn fields_for_nodes(asked: &[String], read: &[&str]) -> Vec<String> {
    let mut fields = asked.to_vec();
    for name in read {
        if !fields.iter().any(|known| covers(known, name)) {
            fields.push((*name).to_owned());
        }
    }
    fields
}

/// Appends of a document what the client's `fields` select; vectors that came with it stay.
///
/// # Errors
/// When `raw` is not a JSON object.
pub fn selected(raw: &[u8], asked: &[String], keep_vectors: bool, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
    let mut paths: Vec<&str> = asked.iter().map(String::as_str).collect();
    if keep_vectors {
        paths.push("_vectors");
    }
    project(raw, &paths, out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The ids of the page that the nodes' documents, already in order, make; told a few at a time.
    fn ids(sort: &[&str], nodes: &[Value], offset: usize, limit: usize) -> Vec<u64> {
        let of = |at_a_time: usize| -> Vec<u64> {
            let expressions: Vec<String> = sort.iter().map(|text| (*text).to_owned()).collect();
            let sorting = Sorting::parse(&expressions).expect("a sort");
            let mut texts: Vec<VecDeque<String>> = nodes
                .iter()
                .map(|node| node.as_array().expect("a list").iter().map(Value::to_string).collect())
                .collect();
            let mut merger = Merger::new(sorting, "id", nodes.len());
            let mut found = Vec::new();
            loop {
                match merger.take() {
                    Next::Nothing => break,
                    Next::Document(raw) => found.push(
                        rank::number(json::get(&raw, "id").expect("an object").expect("an id")).expect("a number")
                            as u64,
                    ),
                    Next::Needs(lists) => {
                        for list in lists {
                            let left = &mut texts[list];
                            let some: Vec<String> = left.drain(..at_a_time.min(left.len())).collect();
                            let ended = some.len() < at_a_time;
                            merger.tell(list, some.iter().map(|text| text.as_bytes()), ended).expect("objects");
                        }
                    }
                }
            }
            found
        };
        let whole = of(100);
        assert_eq!((&of(1), &of(2)), (&whole, &whole));
        whole.into_iter().skip(offset).take(limit).collect()
    }

    #[test]
    fn numbers_come_before_texts_and_what_is_missing_last() {
        let nodes = [
            json!([{"id": 1, "m": 1}, {"id": 3, "m": [5, "a", 7]}, {"id": 3, "m": [5, "a", 7]}, {"id": 6}]),
            json!([{"id": 7, "m": [2, 3]}, {"id": 8, "m": ["c", "0"]}, {"id": 2, "m": "b"}, {"id": 10, "m": true}]),
        ];
        assert_eq!(ids(&["m:asc"], &nodes, 0, 20), [1, 7, 3, 8, 3, 2, 10, 6]);
        assert_eq!(ids(&["m:asc"], &nodes, 2, 3), [3, 8, 3]);
        let nodes = [
            json!([{"id": 3, "m": [5, "a", 7]}, {"id": 1, "m": 1}, {"id": 3, "m": [5, "a", 7]}, {"id": 6}]),
            json!([{"id": 7, "m": [2, 3]}, {"id": 10, "m": true}, {"id": 8, "m": ["c", "0"]}, {"id": 2, "m": "b"}]),
        ];
        assert_eq!(ids(&["m:desc"], &nodes, 0, 20), [3, 7, 1, 10, 8, 2, 3, 6]);
    }

    #[test]
    fn later_criteria_break_ties_and_repeat_documents_too() {
        let nodes = [
            json!([{"id": 1, "n": {"x": 1}, "m": [2, "b"]}, {"id": 1, "n": {"x": 1}, "m": [2, "b"]}, {"id": 4, "m": 9}]),
            json!([{"id": 2, "n": [{"x": 1}], "m": "a"}]),
        ];
        assert_eq!(ids(&["n.x:asc", "m:asc"], &nodes, 0, 9), [1, 2, 1, 4]);
    }

    #[test]
    fn texts_are_compared_as_far_as_they_are_kept_and_lists_in_lists_count() {
        let long = |end: &str| format!("{}{end}", "a".repeat(600));
        let nodes = [
            json!([{"id": 5, "m": [[], [["0"]]]}, {"id": 1, "m": long("b"), "n": 2}]),
            json!([{"id": 4, "m": "  "}, {"id": 2, "m": long("a"), "n": 3}, {"id": 3, "m": ""}]),
        ];
        assert_eq!(ids(&["m:asc", "n:asc"], &nodes, 0, 9), [4, 5, 1, 2, 3]);
        assert_eq!(key(&"é".repeat(200)).len(), 468);
        assert!(key(&"\u{4e2d}".repeat(200)).len() <= 468);
    }

    #[test]
    fn places_order_by_distance() {
        let at = |id: u64, lat: f64| json!({"id": id, "_geo": {"lat": lat, "lng": 0}});
        let nodes = [json!([at(1, 1.0), at(3, 30.0), {"id": 9}]), json!([at(2, -5.0), at(4, 80.0)])];
        assert_eq!(ids(&["_geoPoint(0, 0):asc"], &nodes, 0, 9), [1, 2, 3, 4, 9]);
        let nodes = [json!([at(3, 30.0), at(1, 1.0), {"id": 9}]), json!([at(4, 80.0), at(2, -5.0)])];
        assert_eq!(ids(&["_geoPoint(0, 0):desc"], &nodes, 0, 9), [4, 3, 2, 1, 9]);
    }

    #[test]
    fn what_is_no_sort_is_not_read() {
        for text in ["a", "a:up", "_geoPoint(1):asc", "_geoPoint(x, 1):asc"] {
            assert_eq!(Sorting::parse(&[text.to_owned()]), None, "{text}");
        }
    }

    #[test]
    fn fields_are_added_for_reading_and_taken_away_again() {
        let asked = vec!["a.c".to_owned(), "x".to_owned()];
        assert_eq!(fields_for_nodes(&asked, &["a.b", "x.y", "id"]), ["a.c", "x", "a.b", "id"]);
        let raw = br#"{"id":1,"a":{"b":1,"c":2},"x":{"y":1},"_vectors":{}}"#;
        let mut out = Vec::new();
        selected(raw, &asked, true, &mut out).expect("an object");
        assert_eq!(out, br#"{"a":{"c":2},"x":{"y":1},"_vectors":{}}"#);
    }
}
