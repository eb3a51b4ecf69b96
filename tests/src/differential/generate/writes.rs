//! Writes to an index of their own.

use serde_json::{Map, Value, json};

use super::{Generator, SCRATCH};
use crate::differential::{Body, Request};

impl Generator {
    pub(super) fn additions(&mut self) -> Request {
        let count = self.rng.below(4);
        let documents: Vec<Value> = (0..count).map(|_| self.some_document()).collect();
        let method = *self.rng.pick(&["POST", "PUT"]);
        let path = format!("/indexes/{SCRATCH}/documents");
        let mut request = match self.rng.below(8) {
            0 => {
                let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
                let body = Body::Raw(lines.join("\n"), "application/x-ndjson");
                Request { body, ..Request::bare(method, path) }
            }
            1 => {
                let csv = *self.rng.pick(&["id,title\n1,a\n2,b\n", "id,n:number\n3,x\n", "title\na\n", ""]);
                Request { body: Body::Raw(csv.into(), "text/csv"), ..Request::bare(method, path) }
            }
            2 => Request::json(method, path, self.wrong()),
            _ => Request::json(method, path, Value::Array(documents)),
        };
        if self.rng.chance(0.2) {
            let (name, value) = *self.rng.pick(&[
                ("primaryKey", "id"),
                ("primaryKey", "title"),
                ("csvDelimiter", ";"),
                ("csvDelimiter", "ab"),
                ("skipCreation", "true"),
                ("skipCreation", "maybe"),
                ("unknown", "1"),
            ]);
            request.query.push((name.into(), value.into()));
        }
        request
    }

    fn some_document(&mut self) -> Value {
        let mut document = Map::new();
        let id = match self.rng.below(14) {
            0 => self.wrong(),
            1 => json!("a b"),
            2 => json!(self.rng.below(20).to_string()),
            _ => json!(self.rng.below(20)),
        };
        if self.rng.chance(0.95) {
            document.insert("id".into(), id);
        }
        document.insert("title".into(), json!(self.words(2)));
        if self.rng.chance(0.3) {
            document.insert("extra".into(), self.wrong());
        }
        Value::Object(document)
    }

    pub(super) fn deletions(&mut self) -> Request {
        let documents = format!("/indexes/{SCRATCH}/documents");
        match self.rng.below(9) {
            0..2 => Request::bare("DELETE", format!("{documents}/{}", self.rng.below(25))),
            2..5 => {
                let ids = json!([self.rng.below(25), self.rng.below(25).to_string()]);
                let ids = if self.rng.chance(0.2) { self.wrong() } else { ids };
                Request::json("POST", format!("{documents}/delete-batch"), ids)
            }
            5..8 => {
                let filter = *self.rng.pick(&["id = 3", "id > 15", "title = lantern", "id =", "nope = 1", ""]);
                let filter = if self.rng.chance(0.2) { self.wrong() } else { json!(filter) };
                let name = if self.rng.chance(0.1) { "filters" } else { "filter" };
                Request::json("POST", format!("{documents}/delete"), json!({ name: filter }))
            }
            _ => Request::bare("DELETE", documents),
        }
    }

    pub(super) fn settings_write(&mut self) -> Request {
        let path = format!("/indexes/{SCRATCH}/settings");
        let (name, sub, method, value) = self.setting();
        let value = if self.rng.chance(0.3) { self.wrong() } else { value };
        match self.rng.below(6) {
            0 => Request::bare("DELETE", format!("{path}/{sub}")),
            1 => Request::json(if method == "PUT" { "PATCH" } else { "PUT" }, format!("{path}/{sub}"), value),
            2 | 3 => Request::json(method, format!("{path}/{sub}"), value),
            _ => Request::json("PATCH", path, json!({ name: value })),
        }
    }

    fn setting(&mut self) -> (&'static str, &'static str, &'static str, Value) {
        let settings = [
            ("displayedAttributes", "displayed-attributes", "PUT", json!(["id", "title", "id"])),
            ("searchableAttributes", "searchable-attributes", "PUT", json!(["title", "*"])),
            ("filterableAttributes", "filterable-attributes", "PUT", json!(["id", "title"])),
            (
                "filterableAttributes",
                "filterable-attributes",
                "PUT",
                json!(["id", { "attributePatterns": ["t*"], "features": { "facetSearch": true } }]),
            ),
            ("sortableAttributes", "sortable-attributes", "PUT", json!(["title", "id", "title"])),
            ("rankingRules", "ranking-rules", "PUT", json!(["words", "typo", "id:asc"])),
            ("rankingRules", "ranking-rules", "PUT", json!(["words", "nope"])),
            ("stopWords", "stop-words", "PUT", json!(["the", "a", "the"])),
            ("dictionary", "dictionary", "PUT", json!(["J. R. R.", "W. E. B."])),
            ("separatorTokens", "separator-tokens", "PUT", json!(["|", "&sect;"])),
            ("nonSeparatorTokens", "non-separator-tokens", "PUT", json!(["@", "#"])),
            ("synonyms", "synonyms", "PUT", json!({ "lantern": ["lamp"], "Lamp": ["lantern"] })),
            ("distinctAttribute", "distinct-attribute", "PUT", json!("title")),
            ("proximityPrecision", "proximity-precision", "PUT", json!("byAttribute")),
            ("prefixSearch", "prefix-search", "PUT", json!("disabled")),
            ("facetSearch", "facet-search", "PUT", json!(false)),
            ("searchCutoffMs", "search-cutoff-ms", "PUT", json!(150)),
            (
                "localizedAttributes",
                "localized-attributes",
                "PUT",
                json!([{ "attributePatterns": ["t*"], "locales": ["ja"] }]),
            ),
            ("typoTolerance", "typo-tolerance", "PATCH", json!({ "minWordSizeForTypos": { "oneTypo": 4 } })),
            ("typoTolerance", "typo-tolerance", "PATCH", json!({ "disableOnWords": ["Foo"], "enabled": false })),
            (
                "faceting",
                "faceting",
                "PATCH",
                json!({ "maxValuesPerFacet": 7, "sortFacetValuesBy": { "title": "count" } }),
            ),
            ("pagination", "pagination", "PATCH", json!({ "maxTotalHits": 50 })),
        ];
        self.rng.pick(&settings).clone()
    }

    fn swap(&mut self) -> Request {
        let mut pairs: Vec<Value> = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            let names = [SCRATCH, "another", "third", "fourth", "missing"];
            let mut pair = json!({ "indexes": [self.rng.pick(&names), self.rng.pick(&names)] });
            match self.rng.below(12) {
                0 => pair["rename"] = json!(true),
                1 => pair["rename"] = self.wrong(),
                2 => pair["indexes"] = self.wrong(),
                3 => pair["indexes"] = json!([SCRATCH, self.wrong()]),
                4 => pair["indexes"] = json!([SCRATCH, "another", "third"]),
                5 => pair["unknown"] = json!(1),
                6 => pair = self.wrong(),
                _ => {}
            }
            pairs.push(pair);
        }
        let body = if self.rng.chance(0.1) { self.wrong() } else { Value::Array(pairs) };
        Request::json("POST", "/swap-indexes", body)
    }

    /// Nothing is left to be canceled when each write is waited for.
    fn task_write(&mut self) -> Request {
        let (method, path) = *self.rng.pick(&[("POST", "/tasks/cancel"), ("DELETE", "/tasks")]);
        let (name, value) = *self.rng.pick(&[
            ("uids", "1,2"),
            ("uids", "*"),
            ("uids", "x"),
            ("statuses", "failed"),
            ("statuses", "nope"),
            ("types", "indexSwap,settingsUpdate"),
            ("indexUids", "another,third"),
            ("indexUids", "not valid"),
            ("beforeEnqueuedAt", "2001-01-01"),
            ("beforeEnqueuedAt", "soon"),
            ("canceledBy", "3"),
            ("limit", "1"),
            ("unknown", "1"),
        ]);
        let query = if self.rng.chance(0.1) { Vec::new() } else { vec![(name.to_owned(), value.to_owned())] };
        Request { query, ..Request::bare(method, path) }
    }

    pub(super) fn index_write(&mut self) -> Request {
        let name = *self.rng.pick(&[SCRATCH, "another", "third"]);
        match self.rng.below(14) {
            7..10 => self.swap(),
            10 => Request::json(
                "PATCH",
                format!("/indexes/{name}"),
                json!({ "uid": self.rng.pick(&["third", "fourth"]) }),
            ),
            11 => {
                let member = *self.rng.pick(&["uid", "primaryKey", "unknown"]);
                Request::json("PATCH", format!("/indexes/{name}"), json!({ member: self.wrong() }))
            }
            12 => Request::json("PATCH", format!("/indexes/{name}"), self.wrong()),
            13 => self.task_write(),
            0..3 => Request::json("POST", "/indexes", json!({ "uid": name, "primaryKey": "id" })),
            3 => Request::json("POST", "/indexes", self.wrong()),
            4 => Request::json("PATCH", format!("/indexes/{name}"), json!({ "primaryKey": "title" })),
            5 => Request::bare("DELETE", format!("/indexes/{}", self.rng.pick(&["another", "third", "missing"]))),
            _ => Request::json("POST", "/indexes", json!({ "uid": self.wrong(), "primaryKey": self.wrong() })),
        }
    }
}
