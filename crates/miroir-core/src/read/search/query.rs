//! Reading a search from the parameters of a GET, by writing the JSON body that means the same.

use super::{SearchRequest, Unreadable, filter_fault};
use crate::base::json;

impl SearchRequest {
    /// From the decoded parameters of a GET's query string, of which the last counts when one is given twice.
    ///
    /// # Errors
    /// [`Unreadable`] where Meilisearch refuses a parameter, by its name or value.
    pub fn from_query(pairs: &[(String, String)]) -> Result<Self, Unreadable> {
        let mut body = vec![b'{'];
        let mut last: Vec<(&str, &str)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            last.retain(|(known, _)| known != name);
            last.push((name, value));
        }
        for (name, value) in &last {
            let before = body.len();
            parameter_into(name, value, &mut body)?;
            if body.len() > before {
                body.push(b',');
            }
        }
        let given = |wanted: &str| last.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        match (given("hybridEmbedder"), given("hybridSemanticRatio")) {
            (Some(embedder), ratio) => hybrid_into(embedder, ratio, &mut body)?,
            (None, Some(_)) => return Err(Unreadable),
            (None, None) if given("vector").is_some() => return Err(Unreadable),
            (None, None) => {}
        }
        if body.last() == Some(&b',') {
            body.pop();
        }
        body.push(b'}');
        let mut request = Self::from_text(body)?;
        // In a body null is no filter, here it is one of the wrong shape.
        if given("filter").is_some_and(|filter| filter.trim_ascii() == "null") {
            request.filter_fault = filter_fault(b"null");
        }
        Ok(request)
    }
}

/// Appends the member that `name=value` stands for, without a comma.
pub(crate) fn parameter_into(name: &str, value: &str, body: &mut Vec<u8>) -> Result<(), Unreadable> {
    if matches!(name, "hybridEmbedder" | "hybridSemanticRatio") {
        return Ok(());
    }
    let member = if name == "personalizeUserContext" { "personalize" } else { name };
    json::quote_into(member, body);
    body.push(b':');
    match name {
        "q" | "cropMarker" | "highlightPreTag" | "highlightPostTag" | "distinct" | "matchingStrategy" => {
            json::quote_into(value, body);
        }
        "offset" | "limit" | "page" | "hitsPerPage" | "cropLength" => {
            let number: usize = value.parse().map_err(|_| Unreadable)?;
            body.extend_from_slice(number.to_string().as_bytes());
        }
        "showMatchesPosition"
        | "retrieveVectors"
        | "useNetwork"
        | "showRankingScore"
        | "showRankingScoreDetails"
        | "showPerformanceDetails" => {
            let flag: bool = value.parse().map_err(|_| Unreadable)?;
            body.extend_from_slice(if flag { b"true" } else { b"false" });
        }
        "attributesToRetrieve"
        | "attributesToCrop"
        | "attributesToHighlight"
        | "facets"
        | "attributesToSearchOn"
        | "locales" => list_into(separated(value), body, |text, body| {
            json::quote_into(text, body);
            Ok(())
        })?,
        "vector" => list_into(separated(value), body, |text, body| number_into(text, body).map(drop))?,
        "sort" => list_into(sort_expressions(value).iter().map(String::as_str), body, |text, body| {
            json::quote_into(text, body);
            Ok(())
        })?,
        "filter" => filter_into(value, body),
        "rankingScoreThreshold" => {
            if !(0.0..=1.0).contains(&number_into(value, body)?) {
                return Err(Unreadable);
            }
        }
        "personalizeUserContext" => {
            body.extend_from_slice(b"{\"userContext\":");
            json::quote_into(value, body);
            body.push(b'}');
        }
        _ => return Err(Unreadable),
    }
    Ok(())
}

/// The elements of a comma list; an empty one has none.
fn separated(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(|element| !element.is_empty())
}

fn list_into<'a>(
    elements: impl Iterator<Item = &'a str>,
    body: &mut Vec<u8>,
    mut write: impl FnMut(&str, &mut Vec<u8>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    body.push(b'[');
    for (position, element) in elements.enumerate() {
        if position > 0 {
            body.push(b',');
        }
        write(element, body)?;
    }
    body.push(b']');
    Ok(())
}

/// Appends a finite number in JSON's grammar, however it was written, and returns it.
fn number_into(text: &str, body: &mut Vec<u8>) -> Result<f64, Unreadable> {
    let number: f64 = text.parse().map_err(|_| Unreadable)?;
    if !number.is_finite() {
        return Err(Unreadable);
    }
    body.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
    Ok(number)
}

/// A filter is JSON when it can be read as JSON, else it is an expression.
fn filter_into(value: &str, body: &mut Vec<u8>) {
    let whole = json::value_range(value.as_bytes(), 0)
        .ok()
        .filter(|range| value.as_bytes().get(range.end..).is_some_and(|rest| rest.iter().all(u8::is_ascii_whitespace)));
    match whole.and_then(|range| value.as_bytes().get(range)) {
        Some(raw) => body.extend_from_slice(raw),
        None => json::quote_into(value, body),
    }
}

fn hybrid_into(embedder: &str, ratio: Option<&str>, body: &mut Vec<u8>) -> Result<(), Unreadable> {
    body.extend_from_slice(b"\"hybrid\":{\"embedder\":");
    json::quote_into(embedder, body);
    if let Some(ratio) = ratio {
        body.extend_from_slice(b",\"semanticRatio\":");
        if !(0.0..=1.0).contains(&number_into(ratio, body)?) {
            return Err(Unreadable);
        }
    }
    body.push(b'}');
    Ok(())
}

/// The expressions of a sort parameter, separated by commas other than the one inside `_geoPoint(lat, lng)`.
pub fn sort_expressions(value: &str) -> Vec<String> {
    let mut expressions: Vec<String> = Vec::new();
    let mut inside_point = false;
    for part in value.trim_matches('"').split(',').map(str::trim) {
        match expressions.last_mut() {
            Some(point) if inside_point && !part.starts_with("_geoPoint(") => {
                point.push(',');
                point.push_str(part);
                inside_point = !(part.ends_with("):asc") || part.ends_with("):desc"));
            }
            _ => {
                inside_point = part.starts_with("_geoPoint(");
                expressions.push(part.to_owned());
            }
        }
    }
    expressions
}
