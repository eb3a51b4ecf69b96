//! Searching in the values of a facet: each node finds the values of its shards, and here they become those of the whole.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::base::json::{self, SyntaxError};
use crate::read::facet::fold;
use crate::read::merge::MergeError;
use crate::read::rank;
use crate::read::scope::Scope;
use crate::read::search::{IndexView, Unreadable, filter_fault, last_members};
use crate::settings::SortBy;

/// A facet search as the client sent it.
#[derive(Clone, Debug)]
pub struct FacetSearchRequest {
    /// A JSON object.
    text: Vec<u8>,
    /// All members but the filter, whole.
    others: Vec<Range<usize>>,
    filter: Option<Range<usize>>,
    filter_fault: Option<String>,
    searched_on: Option<Range<usize>>,
    facet_name: String,
    facet_query: Option<String>,
}

impl FacetSearchRequest {
    /// From the raw JSON body.
    ///
    /// # Errors
    /// [`Unreadable`] when it is not an object, names no facet, or has a member of a type that Meilisearch refuses.
    pub fn from_body(raw: &[u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(raw).map_err(|_| Unreadable)?;
        let members = last_members(raw)?;
        let (mut facet_name, mut facet_query, mut filter, mut fault) = (None, None, None, None);
        let mut searched_on = None;
        let mut others = Vec::with_capacity(members.len());
        for (name, member) in &members {
            let value = member.span.end - member.value.len()..member.span.end;
            match &**name {
                "filter" if member.value == b"null" => {}
                "filter" => (filter, fault) = (Some(value), filter_fault(member.value)),
                "facetName" => facet_name = json::unquote(member.value).map(Cow::into_owned),
                "facetQuery" if member.value == b"null" => {}
                "facetQuery" => facet_query = Some(json::unquote(member.value).ok_or(Unreadable)?.into_owned()),
                "attributesToSearchOn" if member.value != b"null" => searched_on = Some(value),
                _ => {}
            }
            if !(name == "filter" || (name == "attributesToSearchOn" && searched_on.is_some())) {
                others.push(member.span.clone());
            }
        }
        let facet_name = facet_name.ok_or(Unreadable)?;
        let filter_fault = fault;
        Ok(Self { text: raw.to_vec(), others, filter, filter_fault, searched_on, facet_name, facet_query })
    }

    /// Whose values are searched.
    pub fn facet_name(&self) -> &str {
        &self.facet_name
    }

    /// The client's filter as raw JSON.
    pub fn filter(&self) -> Option<&[u8]> {
        self.text.get(self.filter.clone()?)
    }

    /// What is wrong with the shape of the filter, in Meilisearch's words; nodes must not be asked then.
    pub fn filter_fault(&self) -> Option<&str> {
        self.filter_fault.as_deref()
    }

    /// The attributes that alone are searched for `q`; empty when there are none.
    pub fn searched_on(&self) -> Vec<String> {
        let raw = self.searched_on.clone().and_then(|range| self.text.get(range));
        raw.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default()
    }

    /// The same request with this raw filter.
    ///
    /// # Errors
    /// [`Unreadable`] when it is no filter.
    pub fn with_filter(&self, filter: &[u8]) -> Result<Self, Unreadable> {
        let mut body = b"{\"filter\":".to_vec();
        body.extend_from_slice(filter);
        for member in &self.others {
            body.push(b',');
            body.extend_from_slice(self.text.get(member.clone()).unwrap_or_default());
        }
        body.push(b'}');
        Self::from_body(&body)
    }

    /// The whole request as a JSON body.
    pub fn body(&self) -> &[u8] {
        &self.text
    }

    /// The JSON body for a node.
    pub fn node_body(&self, scope: &Scope<'_>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.text.len() + 32 + scope.shards.map_or(0, str::len));
        body.extend_from_slice(b"{\"filter\":");
        scope.filter_into(self.filter(), &mut body);
        if let Some(raw) = self.searched_on.clone().and_then(|range| self.text.get(range)) {
            body.extend_from_slice(b",\"attributesToSearchOn\":");
            match scope.searched_on(raw) {
                Some(names) => names_into(&names, &mut body),
                None => body.extend_from_slice(raw),
            }
        }
        for member in &self.others {
            body.push(b',');
            body.extend_from_slice(self.text.get(member.clone()).unwrap_or_default());
        }
        body.push(b'}');
        body
    }

    /// Merges the bodies of the nodes' 200 answers into the body of the client's answer.
    ///
    /// # Errors
    /// [`MergeError`] when an answer is not one.
    pub fn merge(
        &self,
        index: &IndexView<'_>,
        answers: &[impl AsRef<[u8]>],
        elapsed_ms: u64,
    ) -> Result<Vec<u8>, MergeError> {
        let mut values: BTreeMap<String, Value<'_>> = BTreeMap::new();
        for (answer, body) in answers.iter().enumerate() {
            add(body.as_ref(), &mut values).map_err(|fault| MergeError { answer, fault })?;
        }
        let mut values: Vec<(String, Value<'_>)> = values.into_iter().collect();
        match index.facet_order(&self.facet_name) {
            SortBy::Count => values.sort_by(|(_, a), (_, b)| {
                (Reverse(a.count), Reverse(&a.label)).cmp(&(Reverse(b.count), Reverse(&b.label)))
            }),
            // Values are looked up by a coarser form than they are listed by.
            SortBy::Alpha if self.facet_query.is_some() => {
                values.sort_by_cached_key(|(folded, _)| (without_accents(folded), folded.clone()))
            }
            SortBy::Alpha => {}
        }
        let mut out = Vec::with_capacity(128 + values.len().min(index.max_values_per_facet) * 40);
        out.extend_from_slice(b"{\"facetHits\":[");
        for (position, (_, value)) in values.iter().take(index.max_values_per_facet).enumerate() {
            out.extend_from_slice(if position > 0 { b",{\"value\":" } else { b"{\"value\":" });
            json::quote_into(&value.label, &mut out);
            out.extend_from_slice(format!(",\"count\":{}}}", value.count).as_bytes());
        }
        out.extend_from_slice(b"],\"facetQuery\":");
        match &self.facet_query {
            Some(query) => json::quote_into(query, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(format!(",\"processingTimeMs\":{elapsed_ms}}}").as_bytes());
        Ok(out)
    }
}

fn names_into(names: &[String], body: &mut Vec<u8>) {
    body.push(b'[');
    for (position, name) in names.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        json::quote_into(name, body);
    }
    body.push(b']');
}

/// A value of the facet.
struct Value<'a> {
    /// As the first node that has the value spells it.
    label: Cow<'a, str>,
    count: u64,
}

fn without_accents(text: &str) -> String {
    text.nfd().filter(|c| !is_combining_mark(*c)).collect()
}

/// Adds the values that one node found, by their folded form.
fn add<'a>(body: &'a [u8], values: &mut BTreeMap<String, Value<'a>>) -> Result<(), SyntaxError> {
    let fault = |reason| SyntaxError { offset: 0, reason };
    let hits = json::get(body, "facetHits")?.ok_or_else(|| fault("an answer without facet hits"))?;
    for hit in json::elements(hits)? {
        let (mut label, mut count) = (None, None);
        for member in json::members(hit?)? {
            let member = member?;
            match member.key {
                b"value" => label = json::unquote(member.value),
                b"count" => count = rank::number(member.value),
                _ => {}
            }
        }
        let (Some(label), Some(count)) = (label, count) else {
            return Err(fault("a facet hit without a value or a count"));
        };
        let folded = fold(&label).into_owned();
        let value = values.entry(folded).or_insert(Value { label, count: 0 });
        value.count = value.count.saturating_add(count as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn merged(body: &Value, order: SortBy, max: usize, nodes: &[Value]) -> Value {
        let orders: BTreeMap<String, SortBy> = [("*".to_owned(), order)].into();
        let index = IndexView {
            uid: "books",
            displayed: None,
            distinct: None,
            sort_facet_values_by: &orders,
            max_values_per_facet: max,
            max_total_hits: 1000,
            ranks_by_attribute: false,
            pins: None,
        };
        let request = FacetSearchRequest::from_body(body.to_string().as_bytes()).expect("readable");
        let answers: Vec<Vec<u8>> = nodes
            .iter()
            .map(|hits| {
                let hits: Vec<Value> = hits
                    .as_object()
                    .expect("counts")
                    .iter()
                    .map(|(value, count)| json!({"value": value, "count": count}))
                    .collect();
                json!({"facetHits": hits, "facetQuery": null, "processingTimeMs": 1}).to_string().into_bytes()
            })
            .collect();
        serde_json::from_slice(&request.merge(&index, &answers, 7).expect("merged")).expect("JSON")
    }

    fn hits(answer: &Value) -> Vec<(String, u64)> {
        let hit = |hit: &Value| (hit["value"].as_str().unwrap_or("?").to_owned(), hit["count"].as_u64().unwrap_or(0));
        answer["facetHits"].as_array().expect("hits").iter().map(hit).collect()
    }

    fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
    }

    #[test]
    fn counts_are_summed_over_spellings_and_ordered_by_value() {
        let nodes = [json!({"Beta": 5, "gamma": 1}), json!({"alpha": 2, "beta": 1, "Été": 4})];
        let answer = merged(&json!({"facetName": "f"}), SortBy::Alpha, 100, &nodes);
        assert_eq!(hits(&answer), pairs(&[("alpha", 2), ("Beta", 6), ("Été", 4), ("gamma", 1)]));
        assert_eq!((&answer["facetQuery"], &answer["processingTimeMs"]), (&Value::Null, &json!(7)));
    }

    #[test]
    fn by_count_the_greatest_come_first_and_the_limit_is_the_clients() {
        let nodes = [json!({"a": 2, "b": 2, "c": 3}), json!({"c": 1, "d": 9})];
        let answer = merged(&json!({"facetName": "f", "facetQuery": ""}), SortBy::Count, 3, &nodes);
        assert_eq!(hits(&answer), pairs(&[("d", 9), ("c", 4), ("b", 2)]));
        assert_eq!(answer["facetQuery"], json!(""));
    }

    #[test]
    fn nodes_get_every_member_and_one_filter() {
        let body = json!({"facetName": "f", "q": "x", "filter": "a = 1) OR (b = 2", "novel": [1.0]});
        let request = FacetSearchRequest::from_body(body.to_string().as_bytes()).expect("readable");
        let sent: Value = serde_json::from_slice(&request.node_body(&Scope::of_shards(Some("s")))).expect("JSON");
        let wanted = json!({"filter": ["s", "a = 1) OR (b = 2"], "facetName": "f", "q": "x", "novel": [1.0]});
        assert_eq!(sent, wanted);
    }

    #[test]
    fn what_meilisearch_refuses_is_unreadable() {
        for body in ["", "[]", "{}", r#"{"facetName":1}"#, r#"{"facetName":"f","facetQuery":1}"#] {
            assert!(FacetSearchRequest::from_body(body.as_bytes()).is_err(), "{body}");
        }
        for body in [r#"{"facetName":"f","filter":5}"#, r#"{"facetName":"f","filter":[["a",["b"]]]}"#] {
            let read = FacetSearchRequest::from_body(body.as_bytes()).expect("readable");
            assert!(read.filter_fault().is_some(), "{body}");
        }
    }
}
