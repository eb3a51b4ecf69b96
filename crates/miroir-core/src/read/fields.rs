//! The fields of an index: each node knows those of its documents, and here they become those of the whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::json::{self, SyntaxError};
use crate::base::strip;
use crate::read::search::{Unreadable, covers};

/// Fields listed when the client does not say how many.
const DEFAULT_LIMIT: usize = 20;
/// Asked of nodes: more than an index may have.
const ALL: usize = 1 << 20;

/// A request for fields as the client sent it.
#[derive(Clone, Debug)]
pub struct FieldsRequest {
    offset: usize,
    limit: usize,
    filter: Map<String, Value>,
    displayed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    offset: usize,
    #[serde(default = "default_limit")]
    limit: usize,
    filter: Option<Map<String, Value>>,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

impl FieldsRequest {
    /// From the raw JSON body.
    ///
    /// # Errors
    /// [`Unreadable`] when it is not of the form that Meilisearch accepts; the filter's values are for nodes to judge.
    pub fn from_body(raw: &[u8]) -> Result<Self, Unreadable> {
        // By way of a value, in which the last of several members of one name counts.
        let read = serde_json::from_slice::<Value>(raw).and_then(serde_json::from_value);
        let Body { offset, limit, filter } = read.map_err(|_| Unreadable)?;
        let mut filter = filter.unwrap_or_default();
        let displayed = match filter.remove("displayed") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(displayed)) => Some(displayed),
            Some(_) => return Err(Unreadable),
        };
        Ok(Self { offset, limit, filter, displayed })
    }

    /// The JSON body for a node: everything that the filter selects. Nodes display all fields, so that what is displayed
    /// is judged here.
    pub fn node_body(&self) -> Vec<u8> {
        let body = serde_json::json!({ "offset": 0, "limit": ALL, "filter": self.filter });
        body.to_string().into_bytes()
    }

    /// Merges the bodies of the nodes' 200 answers; `displayed` has the attributes that are, `None` for all.
    ///
    /// # Errors
    /// Which answer is not one, and why.
    pub fn merge(
        &self,
        displayed: Option<&[String]>,
        answers: &[impl AsRef<[u8]>],
    ) -> Result<Vec<u8>, (usize, SyntaxError)> {
        let mut fields: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (position, body) in answers.iter().enumerate() {
            self.add(displayed, body.as_ref(), &mut fields).map_err(|fault| (position, fault))?;
        }
        let mut out = b"{\"results\":[".to_vec();
        for (position, field) in fields.values().skip(self.offset).take(self.limit).enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(field);
        }
        let (offset, limit, total) = (self.offset, self.limit, fields.len());
        out.extend_from_slice(format!("],\"offset\":{offset},\"limit\":{limit},\"total\":{total}}}").as_bytes());
        Ok(out)
    }

    fn add(
        &self,
        displayed: Option<&[String]>,
        body: &[u8],
        fields: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), SyntaxError> {
        let fault = |reason| SyntaxError { offset: 0, reason };
        let results = json::get(body, "results")?.ok_or_else(|| fault("an answer without results"))?;
        for field in json::elements(results)? {
            let field = field?;
            let name =
                json::get(field, "name")?.and_then(json::unquote).ok_or_else(|| fault("a field without name"))?;
            let is_displayed = displayed.is_none_or(|names| names.iter().any(|known| covers(known, &name)));
            let is_wanted = self.displayed.is_none_or(|wanted| wanted == is_displayed);
            if strip::is_ours(name.as_bytes()) || !is_wanted || fields.contains_key(&*name) {
                continue;
            }
            let mut out = Vec::with_capacity(field.len());
            let mut start = 0;
            for member in json::members(field)? {
                let member = member?;
                if member.key == b"displayed" {
                    out.extend_from_slice(json::at_most(field, start, member.span.end - member.value.len()));
                    out.extend_from_slice(format!("{{\"enabled\":{is_displayed}}}").as_bytes());
                    start = member.span.end;
                }
            }
            out.extend_from_slice(json::at_most(field, start, field.len()));
            fields.insert(name.into_owned(), out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(names: &[&str]) -> String {
        let field = |name: &&str| json!({"name": name, "displayed": {"enabled": true}, "sortable": {"enabled": false}});
        json!({"results": names.iter().map(field).collect::<Vec<_>>(), "offset": 0, "limit": 9, "total": 9}).to_string()
    }

    fn merged(body: &Value, displayed: Option<&[String]>) -> (Vec<String>, Value) {
        let request = FieldsRequest::from_body(body.to_string().as_bytes()).expect("readable");
        let answers = [answer(&["id", "_miroir_shard", "b"]), answer(&["a", "b", "a.x"])];
        let out: Value = serde_json::from_slice(&request.merge(displayed, &answers).expect("merged")).expect("JSON");
        let names = out["results"].as_array().expect("a list").iter();
        (names.map(|field| field["name"].as_str().unwrap_or("?").to_owned()).collect(), out)
    }

    #[test]
    fn fields_of_all_nodes_are_listed_once_in_order() {
        let (names, page) = merged(&json!({}), None);
        assert_eq!(names, ["a", "a.x", "b", "id"]);
        assert_eq!((&page["total"], &page["limit"]), (&json!(4), &json!(20)));
        let (names, page) = merged(&json!({"offset": 1, "limit": 2}), None);
        assert_eq!((names, &page["total"]), (vec!["a.x".to_owned(), "b".to_owned()], &json!(4)));
    }

    #[test]
    fn what_is_displayed_is_what_the_client_displays() {
        let shown = ["a".to_owned()];
        let (names, page) = merged(&json!({"filter": {"displayed": false}}), Some(&shown));
        assert_eq!(names, ["b", "id"]);
        assert_eq!(
            page["results"][0],
            json!({"name": "b", "displayed": {"enabled": false}, "sortable": {"enabled": false}})
        );
        assert_eq!(merged(&json!({"filter": {"displayed": true}}), Some(&shown)).0, ["a", "a.x"]);
    }

    #[test]
    fn nodes_are_asked_for_all_fields_by_the_clients_filter() {
        let body = br#"{"limit":1,"filter":{"displayed":true,"sortable":true}}"#;
        let request = FieldsRequest::from_body(body).expect("readable");
        let sent: Value = serde_json::from_slice(&request.node_body()).expect("JSON");
        assert_eq!(sent, json!({"offset": 0, "limit": ALL, "filter": {"sortable": true}}));
        for body in ["", "[]", r#"{"offset":"x"}"#, r#"{"zork":1}"#, r#"{"filter":{"displayed":1}}"#] {
            assert!(FieldsRequest::from_body(body.as_bytes()).is_err(), "{body}");
        }
    }
}
