//! Facet searches, similar documents, searches by vector, sorted documents, fields.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, OTHER, VECTORS, as_parameter};
use crate::differential::Request;

impl Generator {
    pub(super) fn facet_search(&mut self) -> Request {
        let mut body = Map::new();
        let name = *self.rng.pick(&["genre", "tags", "tags", "crew.director", "crew", "price", "overview", "nope"]);
        if self.rng.chance(0.95) {
            body.insert("facetName".into(), if self.rng.chance(0.04) { self.wrong() } else { json!(name) });
        }
        if self.rng.chance(0.7) {
            let word = self.word();
            let text = *self.rng.pick(&[word.as_str(), "", "dr", "film n", "ete", "zzz"]);
            body.insert("facetQuery".into(), if self.rng.chance(0.04) { self.wrong() } else { json!(text) });
        }
        for _ in 0..self.rng.below(3) {
            let name = *self.rng.pick(&["q", "filter", "matchingStrategy", "attributesToSearchOn", "locales", "limit"]);
            let value = if self.rng.chance(0.06) { self.wrong() } else { self.parameter(name) };
            body.insert(name.into(), value);
        }
        if self.rng.chance(0.1) {
            body.insert("exhaustiveFacetCount".into(), json!(self.rng.chance(0.5)));
        }
        if self.rng.chance(0.05) {
            body.insert("unknown".into(), json!(1));
        }
        let index = *self.rng.pick(&[INDEX, INDEX, INDEX, OTHER, "missing"]);
        Request::json("POST", format!("/indexes/{index}/facet-search"), Value::Object(body))
    }

    pub(super) fn similar(&mut self) -> Request {
        let mut body = Map::new();
        let id = match self.rng.below(12) {
            0 => self.wrong(),
            1 => json!(999),
            2 => json!("a b"),
            3 => json!(self.rng.below(50).to_string()),
            _ => json!(self.rng.below(50)),
        };
        if self.rng.chance(0.97) {
            body.insert("id".into(), id);
        }
        if self.rng.chance(0.97) {
            let embedder = if self.rng.chance(0.1) { *self.rng.pick(&["nope", "", "default"]) } else { "e" };
            body.insert("embedder".into(), if self.rng.chance(0.03) { self.wrong() } else { json!(embedder) });
        }
        for _ in 0..self.rng.below(3) {
            let (name, value) = match self.rng.below(8) {
                0 => ("limit", json!(self.rng.pick(&[0, 1, 5, 100]))),
                1 => ("offset", json!(self.rng.pick(&[0, 1, 30, 100]))),
                2 => ("filter", self.filter()),
                3 => ("attributesToRetrieve", json!(self.rng.pick(&[json!(["id"]), json!(["*"]), json!([])]))),
                4 => ("retrieveVectors", json!(self.rng.chance(0.5))),
                5 => ("showRankingScore", json!(true)),
                6 => ("unknown", json!(1)),
                _ => (
                    *self.rng.pick(&["limit", "offset", "filter", "attributesToRetrieve", "showRankingScoreDetails"]),
                    { self.wrong() },
                ),
            };
            body.insert(name.into(), value);
        }
        let index = *self.rng.pick(&[VECTORS, VECTORS, VECTORS, VECTORS, INDEX, "missing"]);
        let path = format!("/indexes/{index}/similar");
        if self.rng.chance(0.3) {
            let query = body.iter().map(|(name, value)| (name.clone(), as_parameter(name, value))).collect();
            return Request { query, ..Request::bare("GET", path) };
        }
        Request::json("POST", path, Value::Object(body))
    }

    /// By vectors alone. Mixed with words, a server stops to look for what is similar when it has found enough.
    pub(super) fn semantic_search(&mut self) -> Request {
        let mut body = Map::new();
        let vector: Vec<f64> = (0..3).map(|_| (self.rng.below(2001) as f64 - 1000.0) / 1000.0).collect();
        let vector = if self.rng.chance(0.1) { json!([1.0, 2.0]) } else { json!(vector) };
        if self.rng.chance(0.95) {
            body.insert("vector".into(), vector);
        }
        let embedder = if self.rng.chance(0.05) { "nope" } else { "e" };
        let hybrid = json!({ "embedder": embedder, "semanticRatio": 1.0 });
        body.insert("hybrid".into(), if self.rng.chance(0.05) { self.wrong() } else { hybrid });
        for name in ["limit", "offset", "filter", "showRankingScore", "page"] {
            if self.rng.chance(0.25) {
                body.insert(name.into(), self.parameter(name));
            }
        }
        if self.rng.chance(0.2) {
            body.insert("retrieveVectors".into(), json!(true));
        }
        Request::json("POST", format!("/indexes/{VECTORS}/search"), Value::Object(body))
    }

    pub(super) fn sorted_documents(&mut self) -> Request {
        let sorts = [
            json!(["n:asc"]),
            json!(["n:desc"]),
            json!(["price:asc", "n:asc"]),
            json!(["genre:desc", "n:desc"]),
            json!(["released:asc", "n:asc"]),
            json!(["_geoPoint(40.5, -20.25):asc", "n:asc"]),
        ];
        let mut body = Map::new();
        let sort = if self.rng.chance(0.06) { self.wrong() } else { self.rng.pick(&sorts).clone() };
        body.insert("sort".into(), sort);
        for (name, values) in [("limit", [0, 1, 7, 30, 1000]), ("offset", [0, 1, 20, 100, 5000])] {
            if self.rng.chance(0.6) {
                body.insert(name.into(), json!(self.rng.pick(&values)));
            }
        }
        if self.rng.chance(0.3) {
            body.insert("filter".into(), self.filter());
        }
        if self.rng.chance(0.3) {
            body.insert("fields".into(), json!(["id", "n"]));
        }
        let path = format!("/indexes/{INDEX}/documents");
        if self.rng.chance(0.3) {
            let query = body.iter().map(|(name, value)| (name.clone(), as_parameter(name, value))).collect();
            return Request { query, ..Request::bare("GET", path) };
        }
        Request::json("POST", format!("{path}/fetch"), Value::Object(body))
    }

    pub(super) fn fields(&mut self) -> Request {
        let mut body = Map::new();
        for name in ["limit", "offset"] {
            if self.rng.chance(0.4) {
                let value = if self.rng.chance(0.2) { self.wrong() } else { json!(self.rng.below(12)) };
                body.insert(name.into(), value);
            }
        }
        if self.rng.chance(0.5) {
            let name = *self.rng.pick(&["displayed", "searchable", "sortable", "distinct", "filterable", "unknown"]);
            let mut filter = json!({ name: self.rng.chance(0.5) });
            if self.rng.chance(0.3) {
                filter["attributePatterns"] = self.rng.pick(&[json!(["c*"]), json!(["id", "n"]), json!([])]).clone();
            }
            body.insert("filter".into(), if self.rng.chance(0.2) { self.wrong() } else { filter });
        }
        let index = *self.rng.pick(&[INDEX, INDEX, OTHER, "missing"]);
        Request::json("POST", format!("/indexes/{index}/fields"), Value::Object(body))
    }
}
