//! Documents in the order of attributes, for reads by anything but a search.

use std::cmp::Ordering;

use milli_core::{AscDesc, Member, distance_between_two_points};
use serde_json::{Map, Value};

use super::values;
use crate::error::{ApiError, ApiResult};

/// Where a rule puts a document.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Number(f64),
    Text(String),
    Missing,
}

/// Parses the sort parameter and checks it against the attributes that may be sorted by.
///
/// # Errors
/// `invalid_document_sort`.
pub fn parse(sort: &[String], sortable: &[String]) -> ApiResult<Vec<AscDesc>> {
    const CODE: &str = "invalid_document_sort";
    let rules: Vec<AscDesc> = sort
        .iter()
        .map(|rule| rule.parse().map_err(|error: milli_core::AscDescError| ApiError::new(CODE, error.to_string())))
        .collect::<ApiResult<_>>()?;
    for rule in &rules {
        let name = match rule.member() {
            Member::Field(name) => name.as_str(),
            Member::Geo(_) => "_geo",
        };
        if !sortable.iter().any(|known| milli_core::is_faceted_by(name, known)) {
            let mut known = sortable.to_vec();
            known.sort();
            let list = known.join(", ");
            let message = format!("Attribute `{name}` is not sortable. Available sortable attributes are: `{list}`.");
            return Err(ApiError::new(CODE, message));
        }
    }
    Ok(rules)
}

/// The documents in order. One that holds both a number and a text stands at both places; one that has the attribute
/// without a value that could be sorted by is left out.
pub fn sort<T: Clone>(documents: Vec<(Map<String, Value>, T)>, rules: &[AscDesc]) -> Vec<T> {
    let mut placed: Vec<(Vec<Place>, T)> = Vec::new();
    for (document, what) in documents {
        let mut keys: Vec<Vec<Place>> = vec![Vec::new()];
        for rule in rules {
            let choices = places(&document, rule);
            keys = keys
                .into_iter()
                .flat_map(|key| choices.iter().map(move |place| key.iter().cloned().chain([place.clone()]).collect()))
                .collect();
        }
        placed.extend(keys.into_iter().map(|key| (key, what.clone())));
    }
    placed.sort_by(|(a, _), (b, _)| {
        let pairs = rules.iter().zip(a.iter().zip(b));
        pairs.map(|(rule, (a, b))| compare(rule, a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    placed.into_iter().map(|(_, what)| what).collect()
}

fn is_ascending(rule: &AscDesc) -> bool {
    matches!(rule, AscDesc::Asc(_))
}

fn places(document: &Map<String, Value>, rule: &AscDesc) -> Vec<Place> {
    let path = match rule.member() {
        Member::Geo(origin) => {
            let degrees = |name| match values::at(document, name).first() {
                Some(Value::Number(number)) => number.as_f64(),
                Some(Value::String(text)) => text.parse().ok(),
                Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
            };
            let point = degrees("_geo.lat").zip(degrees("_geo.lng"));
            let metres = point.map(|(lat, lng)| distance_between_two_points(origin, &[lat, lng]));
            return vec![metres.map_or(Place::Missing, Place::Number)];
        }
        Member::Field(path) => path,
    };
    if !values::exists(document, path) {
        return vec![Place::Missing];
    }
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for value in values::at(document, path) {
        match value {
            Value::Number(number) => numbers.extend(number.as_f64()),
            Value::Bool(flag) => texts.push(flag.to_string()),
            Value::String(text) => texts.push(milli_core::normalize_facet(&text)),
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    numbers.sort_by(f64::total_cmp);
    texts.retain(|text| !text.is_empty());
    texts.sort();
    let (number, text) =
        if is_ascending(rule) { (numbers.first(), texts.first()) } else { (numbers.last(), texts.last()) };
    number.copied().map(Place::Number).into_iter().chain(text.cloned().map(Place::Text)).collect()
}

fn compare(rule: &AscDesc, a: &Place, b: &Place) -> Ordering {
    let kind = |place: &Place| match place {
        Place::Number(_) => 0,
        Place::Text(_) => 1,
        Place::Missing => 2,
    };
    let order = match (a, b) {
        (Place::Number(a), Place::Number(b)) => a.total_cmp(b),
        (Place::Text(a), Place::Text(b)) => a.cmp(b),
        (a, b) => return kind(a).cmp(&kind(b)),
    };
    if is_ascending(rule) { order } else { order.reverse() }
}
