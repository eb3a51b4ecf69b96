//! Documents, settings, indexes, tasks, and what is no route at all.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, SCRATCH};
use crate::differential::{Body, Request};

const SETTINGS: [&str; 22] = [
    "displayed-attributes",
    "searchable-attributes",
    "filterable-attributes",
    "sortable-attributes",
    "ranking-rules",
    "stop-words",
    "dictionary",
    "separator-tokens",
    "non-separator-tokens",
    "synonyms",
    "distinct-attribute",
    "proximity-precision",
    "prefix-search",
    "facet-search",
    "search-cutoff-ms",
    "localized-attributes",
    "typo-tolerance",
    "faceting",
    "pagination",
    "embedders",
    "nope",
    "",
];

impl Generator {
    pub(super) fn documents(&mut self) -> Request {
        let mut body = Map::new();
        body.insert("limit".into(), json!(self.rng.pick(&[0, 1000])));
        for _ in 0..self.rng.below(3) {
            let (name, value) = match self.rng.below(7) {
                0..2 => ("filter", self.filter()),
                2 => ("fields", self.rng.pick(&[json!(["id", "n"]), json!(["nope"]), json!(["id"])]).clone()),
                3 => ("ids", json!([self.rng.below(140), "7", self.rng.below(140).to_string()])),
                4 => ("retrieveVectors", json!(self.rng.chance(0.5))),
                5 => ("offset", json!(self.rng.pick(&[0, 5000]))),
                _ => (*self.rng.pick(&["limit", "fields", "ids", "filter", "unknown"]), self.wrong()),
            };
            body.insert(name.into(), value);
        }
        Request::json("POST", format!("/indexes/{INDEX}/documents/fetch"), Value::Object(body))
    }

    pub(super) fn one_document(&mut self) -> Request {
        let id = match self.rng.below(6) {
            0 => "nope".to_owned(),
            1 => "not%20valid".to_owned(),
            2 => "99999999999999999999".to_owned(),
            _ => self.rng.below(130).to_string(),
        };
        let mut request = Request::bare("GET", format!("/indexes/{INDEX}/documents/{id}"));
        if self.rng.chance(0.3) {
            let (name, value) = *self.rng.pick(&[
                ("fields", "id,title"),
                ("fields", "*"),
                ("fields", ""),
                ("retrieveVectors", "true"),
                ("retrieveVectors", "maybe"),
                ("unknown", "1"),
            ]);
            request.query.push((name.into(), value.into()));
        }
        request
    }

    pub(super) fn settings_read(&mut self) -> Request {
        let index = *self.rng.pick(&[INDEX, SCRATCH, "missing", "not valid"]);
        let name = *self.rng.pick(&SETTINGS);
        let method = *self.rng.pick(&["GET", "GET", "GET", "POST"]);
        Request::bare(method, format!("/indexes/{}/settings/{name}", index.replace(' ', "%20")))
    }

    pub(super) fn tasks(&mut self) -> Request {
        let mut request = Request::bare("GET", "/tasks");
        for _ in 0..self.rng.below(3) {
            let (name, value) = *self.rng.pick(&[
                ("limit", "3"),
                ("limit", "-1"),
                ("limit", "0"),
                ("from", "5"),
                ("from", "x"),
                ("reverse", "true"),
                ("reverse", "2"),
                ("statuses", "succeeded,failed"),
                ("statuses", "SUCCEEDED"),
                ("statuses", "done"),
                ("types", "settingsUpdate"),
                ("types", "settingsupdate,indexCreation"),
                ("types", "nope"),
                ("indexUids", "films"),
                ("indexUids", "films,scratch"),
                ("indexUids", "not valid"),
                ("uids", "1,2,3"),
                ("uids", "1,x"),
                ("batchUids", "2"),
                ("canceledBy", "1"),
                ("afterEnqueuedAt", "2020-01-01"),
                ("beforeEnqueuedAt", "2020-01-01T00:00:00Z"),
                ("beforeFinishedAt", "yesterday"),
                ("uids", "*"),
                ("unknown", "1"),
            ]);
            if !request.query.iter().any(|(known, _)| known == name) {
                request.query.push((name.into(), value.into()));
            }
        }
        if self.rng.chance(0.3) {
            request.query.clear();
            request.path = format!("/tasks/{}", self.rng.pick(&["0", "1", "3", "9999999", "x", "-1"]));
        }
        request
    }

    pub(super) fn indexes(&mut self) -> Request {
        let index = *self.rng.pick(&[INDEX, SCRATCH, "missing", "not%20valid"]);
        let path = match self.rng.below(5) {
            0 => "/indexes".to_owned(),
            1 => format!("/indexes/{index}/stats"),
            2 => "/stats".to_owned(),
            _ => format!("/indexes/{index}"),
        };
        let mut request = Request::bare("GET", path);
        if request.path == "/indexes" {
            let (name, value) =
                *self.rng.pick(&[("limit", "1"), ("offset", "1"), ("limit", "x"), ("offset", "-1"), ("unknown", "1")]);
            request.query.push((name.into(), value.into()));
        }
        request
    }

    pub(super) fn nonsense(&mut self) -> Request {
        let search = format!("/indexes/{INDEX}/search");
        let documents = format!("/indexes/{INDEX}/documents");
        let text =
            *self.rng.pick(&["", "{", "[]", "null", "{\"q\":}", "{\"q\":\"a\"} x", "q", "{\"q\":\"a\",\"q\":1}"]);
        let kind = *self.rng.pick(&["application/json", "text/plain", "application/x-ndjson", ""]);
        match self.rng.below(8) {
            0 => Request::bare("GET", *self.rng.pick(&["/nope", "/indexes/films/nope", "/health", "/version"])),
            1 => Request::bare("DELETE", search),
            2 => Request::bare("PATCH", documents),
            3 => Request::bare("PUT", "/indexes"),
            4..6 => Request { body: Body::Raw(text.into(), kind), ..Request::bare("POST", search) },
            6 => Request { body: Body::Raw(text.into(), kind), ..Request::bare("POST", format!("{documents}/fetch")) },
            _ => Request::json("POST", "/indexes/missing/search", json!({ "q": "x" })),
        }
    }
}
