//! Several searches in one request.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, OTHER, SCRATCH};
use crate::differential::{Body, Request};

impl Generator {
    pub(super) fn multi_search(&mut self) -> Request {
        let count = self.rng.below(5);
        let mut queries: Vec<Value> = Vec::new();
        for _ in 0..count {
            // Equal queries are asked once.
            let again = queries.first().filter(|_| self.rng.chance(0.15)).cloned();
            let query = again.unwrap_or_else(|| Value::Object(self.named_search()));
            queries.push(query);
        }
        let mut body = json!({ "queries": queries });
        self.spoil_multi_search(&mut body);
        if body.is_object() && self.rng.chance(0.05) {
            body["federation"] = Value::Null;
        }
        let request = Request::json("POST", "/multi-search", body);
        if self.rng.chance(0.04) { self.with_member_twice(request) } else { request }
    }

    fn named_search(&mut self) -> Map<String, Value> {
        let mut query = self.search_body();
        self.name_index(&mut query);
        if self.rng.chance(0.03) {
            query.insert("federationOptions".into(), self.rng.pick(&[json!(null), json!({ "weight": 2 })]).clone());
        }
        query
    }

    /// Says which index is searched: mostly one that is there.
    pub(super) fn name_index(&mut self, query: &mut Map<String, Value>) {
        let uid = match self.rng.below(40) {
            0 => return,
            1 => self.wrong(),
            2 => json!("missing"),
            3 => json!("not valid"),
            4 => json!(SCRATCH),
            5..16 => json!(OTHER),
            _ => json!(INDEX),
        };
        query.insert("indexUid".into(), uid);
    }

    /// Breaks a few of the requests.
    pub(super) fn spoil_multi_search(&mut self, body: &mut Value) {
        match self.rng.below(50) {
            0 => body["unknown"] = json!(1),
            1 => body["queries"] = self.wrong(),
            2 => body["queries"] = json!([self.wrong()]),
            3 => *body = self.wrong(),
            _ => {}
        }
    }

    /// The request with one of its members given twice: the last counts.
    pub(super) fn with_member_twice(&mut self, request: Request) -> Request {
        let Body::Json(value) = &request.body else { return request };
        let text = value.to_string();
        let (member, twice) = *self.rng.pick(&[
            ("\"indexUid\":", "\"indexUid\":\"missing\",\"indexUid\":"),
            ("\"q\":", "\"q\":\"copper\",\"q\":"),
            ("\"queries\":", "\"queries\":[],\"queries\":"),
            ("\"queries\":", "\"queries\":5,\"queries\":"),
        ]);
        Request { body: Body::Raw(text.replacen(member, twice, 1), "application/json"), ..request }
    }
}
