//! Keys, requests by their holders and by tokens, and listings of tasks, batches, keys and indexes.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, OTHER};
use crate::differential::{Caller, Request};

/// Keys that come and go; each request that names a key names one of these.
const KEYS: [&str; 4] = [
    "6062abda-a5aa-4414-ac91-ecd7944c0f8d",
    "9aec34f4-e44c-4917-86c2-9c9403abb3b6",
    "01234567-89ab-4cde-8f01-23456789abcd",
    "f3a1c2b4-1111-4222-8333-444455556666",
];

impl Generator {
    /// A request about keys, tasks or batches, or by the holder of a key.
    pub fn control(&mut self) -> Request {
        match self.rng.below(20) {
            0..3 => self.new_key(),
            3 => self.changed_key(),
            4 => self.one_key(),
            5 => self.listed_keys(),
            6..10 => self.tasks(),
            10..12 => self.batches(),
            12 => self.indexes(),
            _ => self.by_somebody(),
        }
    }

    fn new_key(&mut self) -> Request {
        let actions = [
            json!(["search"]),
            json!(["search", "documents.get"]),
            json!(["*"]),
            json!(["*.get"]),
            json!(["documents.*", "indexes.get"]),
            json!(["tasks.get", "stats.get"]),
            json!(["keys.get"]),
            json!(["indexes.*", "version"]),
            json!([]),
            json!(["nope"]),
            json!("search"),
        ];
        let indexes =
            [json!(["*"]), json!(["films"]), json!(["b*"]), json!(["films", "books"]), json!([]), json!(["a b"])];
        let expiries =
            [json!(null), json!(null), json!("2100-01-01T00:00:00Z"), json!("2100-01-01"), json!("2001-01-01")];
        let mut body = json!({
            "uid": self.rng.pick(&KEYS),
            "actions": self.rng.pick(&actions),
            "indexes": self.rng.pick(&indexes),
            "expiresAt": self.rng.pick(&expiries),
        });
        for name in ["name", "description"] {
            if self.rng.chance(0.3) {
                body[name] = self.rng.pick(&[json!("words"), json!(""), json!(null), json!(5)]).clone();
            }
        }
        match self.rng.below(12) {
            0 => {
                let name = *self.rng.pick(&["uid", "actions", "indexes", "expiresAt", "name", "unknown"]);
                body[name] = self.wrong();
            }
            1 => {
                let name = *self.rng.pick(&["actions", "indexes", "expiresAt"]);
                body.as_object_mut().and_then(|members| members.shift_remove(name));
            }
            2 => body = self.wrong(),
            _ => {}
        }
        Request::json("POST", "/keys", body)
    }

    fn key_path(&mut self) -> String {
        let uid = *self.rng.pick(&KEYS);
        match self.rng.below(8) {
            0 => "/keys/nope".to_owned(),
            1 => format!("/keys/{}", uid.to_uppercase()),
            2..4 => format!("/keys/{{key:{uid}}}"),
            _ => format!("/keys/{uid}"),
        }
    }

    fn changed_key(&mut self) -> Request {
        let name = *self.rng.pick(&["name", "description", "actions", "uid", "expiresAt", "createdAt", "unknown"]);
        let body = match self.rng.below(6) {
            0 => self.wrong(),
            1 => json!({ name: self.wrong() }),
            _ => json!({ "name": "other", "description": self.rng.pick(&["", "more"]) }),
        };
        Request::json("PATCH", self.key_path(), body)
    }

    fn one_key(&mut self) -> Request {
        let method = *self.rng.pick(&["GET", "GET", "DELETE", "POST"]);
        Request::bare(method, self.key_path())
    }

    fn listed_keys(&mut self) -> Request {
        let pairs =
            [("limit", "1"), ("offset", "1"), ("limit", "0"), ("offset", "x"), ("limit", "-1"), ("unknown", "1")];
        let mut request = Request::bare("GET", "/keys");
        for _ in 0..self.rng.below(3) {
            let (name, value) = *self.rng.pick(&pairs);
            if !request.query.iter().any(|(known, _)| known == name) {
                request.query.push((name.into(), value.into()));
            }
        }
        request
    }

    fn batches(&mut self) -> Request {
        let mut request = self.tasks();
        request.path = request.path.replacen("/tasks", "/batches", 1);
        request
    }

    /// Something that some may do, by somebody.
    fn by_somebody(&mut self) -> Request {
        let caller = self.caller();
        let index = *self.rng.pick(&[INDEX, OTHER, "missing"]);
        let both = json!([{ "indexUid": INDEX, "limit": 2 }, { "indexUid": OTHER, "limit": 2 }]);
        let plain = json!([{ "indexUid": INDEX, "q": "a" }, { "indexUid": index }]);
        let short = json!({ "limit": 2, "attributesToRetrieve": ["id"] });
        let request = match self.rng.below(24) {
            0..5 => Request::json("POST", format!("/indexes/{index}/search"), short),
            5 => Request::bare("GET", format!("/indexes/{index}/search?limit=1&filter=n%20%3C%20400")),
            6..8 => Request::json("POST", "/multi-search", json!({ "queries": both })),
            8 => Request::json("POST", "/multi-search", json!({ "queries": plain, "federation": { "limit": 2 } })),
            9 => Request::json("POST", format!("/indexes/{index}/facet-search"), json!({ "facetName": "genre" })),
            10 => Request::bare("GET", format!("/indexes/{index}/documents/3?fields=id")),
            11 => Request::json("POST", format!("/indexes/{index}/documents/fetch"), json!({ "limit": 0 })),
            12 => Request::bare("GET", "/indexes?limit=2"),
            13 => Request::bare("GET", format!("/indexes/{index}")),
            14 => Request::bare("GET", format!("/indexes/{index}/settings/ranking-rules")),
            15 => Request::bare("GET", format!("/indexes/{index}/stats")),
            16 => Request::bare("GET", "/tasks?limit=2"),
            17 => Request::bare("GET", format!("/tasks/{}", self.rng.below(12))),
            18 => Request::bare("GET", "/keys?limit=0"),
            19 => Request::json("POST", "/indexes", json!({ "uid": index, "primaryKey": "id" })),
            20 => Request::bare("DELETE", "/indexes/missing"),
            21 => Request::json("POST", "/swap-indexes", json!([{ "indexes": [INDEX, "missing"] }])),
            22 => Request::bare("GET", *self.rng.pick(&["/version", "/stats", "/nope", "/webhooks"])),
            _ => Request::bare("GET", format!("/batches/{}", self.rng.below(12))),
        };
        Request { caller, ..request }
    }

    fn caller(&mut self) -> Caller {
        let uid = *self.rng.pick(&KEYS);
        match self.rng.below(16) {
            0 => Caller::Nobody,
            1 => {
                let headers = ["Bearer nope", "Basic eDp4", "Bearer", "bearer x", "Bearer a.b.c"];
                Caller::Header(headers[self.rng.below(headers.len())])
            }
            2..9 => Caller::Key(uid),
            _ => Caller::Token(uid, Value::Object(self.claims())),
        }
    }

    fn claims(&mut self) -> Map<String, Value> {
        let rules = [
            json!(["*"]),
            json!(["films"]),
            json!(["b*", "films"]),
            json!({ "films": null }),
            json!({ "*": {} }),
            json!({ "films": { "filter": "n > 300" }, "*": { "filter": "n < 2300" } }),
            json!({ "films": { "filter": ["n > 300", ["id = 3", "id = 4"]] } }),
            json!({ "fil*": { "filter": "genre = Comedy" }, "books": {} }),
            json!({ "films": { "filter": "n = 1) OR (n > 0" } }),
            json!({ "films": { "filter": "nope = 1" } }),
            json!({ "films": { "filter": 5 } }),
            json!([]),
            json!("films"),
            json!(null),
        ];
        let mut claims = Map::new();
        claims.insert("searchRules".into(), self.rng.pick(&rules).clone());
        match self.rng.below(12) {
            0 => drop(claims.insert("exp".into(), json!(1_000_000_000))),
            1 => drop(claims.insert("exp".into(), json!("soon"))),
            2 => drop(claims.insert("exp".into(), json!(4_000_000_000_u64))),
            3 => drop(claims.insert("apiKeyUid".into(), json!("6062abda-a5aa-4414-ac91-ecd7944c0f8e"))),
            4 => drop(claims.shift_remove("searchRules")),
            _ => {}
        }
        claims
    }
}
