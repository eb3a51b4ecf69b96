//! Several searches whose hits become one list.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, OTHER};
use crate::differential::Request;

/// Parameters that a query of a federation may have.
const PARAMETERS: [&str; 12] = [
    "q",
    "filter",
    "attributesToRetrieve",
    "attributesToCrop",
    "attributesToHighlight",
    "showMatchesPosition",
    "matchingStrategy",
    "attributesToSearchOn",
    "showRankingScore",
    "showRankingScoreDetails",
    "locales",
    "cropMarker",
];

/// Parameters that it may not have.
const FOREIGN: [&str; 6] = ["limit", "offset", "page", "hitsPerPage", "facets", "unknown"];

impl Generator {
    pub(super) fn federated_search(&mut self) -> Request {
        let sort = if self.rng.chance(0.3) { Some(self.sort()) } else { None };
        let count = 1 + self.rng.below(4);
        let queries: Vec<Value> = (0..count).map(|_| Value::Object(self.federated_query(sort.as_ref()))).collect();
        let federation = if self.rng.chance(0.04) { self.wrong() } else { Value::Object(self.federation()) };
        let mut body = json!({ "federation": federation, "queries": queries });
        self.spoil_multi_search(&mut body);
        let request = Request::json("POST", "/multi-search", body);
        if self.rng.chance(0.02) { self.with_member_twice(request) } else { request }
    }

    fn federated_query(&mut self, sort: Option<&Value>) -> Map<String, Value> {
        let mut query = Map::new();
        self.name_index(&mut query);
        if self.rng.chance(0.8) {
            let count = self.rng.below(4);
            query.insert("q".into(), json!(self.words(count)));
        }
        if let Some(sort) = sort {
            query.insert("sort".into(), sort.clone());
        }
        for _ in 0..self.rng.below(3) {
            let name = *self.rng.pick(&PARAMETERS);
            let value = if self.rng.chance(0.04) { self.wrong() } else { self.parameter(name) };
            query.insert(name.into(), value);
        }
        if self.rng.chance(0.05) {
            let name = *self.rng.pick(&FOREIGN);
            let value = if self.rng.chance(0.3) { self.wrong() } else { self.parameter(name) };
            query.insert(name.into(), value);
        }
        if self.rng.chance(0.4) {
            query.insert("federationOptions".into(), self.federation_options());
        }
        query
    }

    fn federation_options(&mut self) -> Value {
        match self.rng.below(16) {
            0 => self.wrong(),
            1 => json!({ "weight": self.wrong() }),
            2 => json!({ "weight": -1 }),
            3 => json!({ "queryPosition": 0 }),
            4 => json!({ "remote": "far" }),
            5 => json!({ "unknown": 1 }),
            6 => json!({}),
            _ => json!({ "weight": self.rng.pick(&[0.0, 0.25, 0.5, 0.9, 1.0, 1.5, 3.0]) }),
        }
    }

    fn federation(&mut self) -> Map<String, Value> {
        let mut federation = Map::new();
        match self.rng.below(4) {
            0 => self.paging(&mut federation, ["page", "hitsPerPage"]),
            1 | 2 => self.paging(&mut federation, ["offset", "limit"]),
            _ => {}
        }
        if self.rng.chance(0.35) {
            federation.insert("facetsByIndex".into(), self.facets_by_index());
        }
        if self.rng.chance(0.2) {
            let bounds = [json!({}), json!(null), json!({ "maxValuesPerFacet": 2 }), json!({ "maxValuesPerFacet": 0 })];
            let bound = if self.rng.chance(0.1) { self.wrong() } else { self.rng.pick(&bounds).clone() };
            federation.insert("mergeFacets".into(), bound);
        }
        if self.rng.chance(0.1) {
            // Only who has seen every hit knows how many there are.
            let attribute = *self.rng.pick(&["genre", "id", "crew.size", "overview"]);
            let attribute = if self.rng.chance(0.1) { self.wrong() } else { json!(attribute) };
            federation.insert("distinct".into(), attribute);
            for name in ["page", "hitsPerPage", "offset", "facetsByIndex", "mergeFacets"] {
                federation.shift_remove(name);
            }
            federation.insert("limit".into(), json!(1000));
        }
        if self.rng.chance(0.03) {
            federation.insert("unknown".into(), self.wrong());
        }
        federation
    }

    fn paging(&mut self, federation: &mut Map<String, Value>, names: [&str; 2]) {
        for name in names {
            if self.rng.chance(0.7) {
                let value = if self.rng.chance(0.05) { self.wrong() } else { self.parameter(name) };
                federation.insert(name.into(), value);
            }
        }
    }

    fn facets_by_index(&mut self) -> Value {
        let mut by_index = Map::new();
        for index in [INDEX, OTHER, "missing"] {
            let (chance, broken) = if index == "missing" { (0.05, 0.0) } else { (0.6, 0.05) };
            if self.rng.chance(chance) {
                let facets = match self.rng.below(8) {
                    0 => json!(null),
                    1 => json!([]),
                    2 => self.facets(),
                    _ => self.rng.pick(&[json!(["genre"]), json!(["crew.size", "genre"]), json!(["price"])]).clone(),
                };
                let facets = if self.rng.chance(broken) { self.wrong() } else { facets };
                by_index.insert(index.into(), facets);
            }
        }
        Value::Object(by_index)
    }
}
