//! Searches.

use serde_json::{Map, Value, json};

use super::{Generator, INDEX, OTHER, as_parameter};
use crate::differential::Request;

/// Each parameter of a search that the engine itself knows.
const PARAMETERS: [&str; 22] = [
    "q",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "attributesToRetrieve",
    "attributesToCrop",
    "cropLength",
    "cropMarker",
    "attributesToHighlight",
    "highlightPreTag",
    "showMatchesPosition",
    "filter",
    "sort",
    "distinct",
    "facets",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "showRankingScore",
    "retrieveVectors",
    "locales",
];

/// Parameters whose values are numbers or words, so that a GET can carry them.
const PLAIN: [&str; 12] = [
    "q",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "filter",
    "sort",
    "facets",
    "attributesToRetrieve",
    "matchingStrategy",
    "showRankingScore",
    "cropLength",
];

impl Generator {
    pub(super) fn search(&mut self) -> Request {
        let index = if self.rng.chance(0.85) { INDEX } else { OTHER };
        Request::json("POST", format!("/indexes/{index}/search"), Value::Object(self.search_body()))
    }

    /// A search without its index.
    pub(super) fn search_body(&mut self) -> Map<String, Value> {
        let mut body = Map::new();
        if self.rng.chance(0.8) {
            let count = self.rng.below(4);
            body.insert("q".into(), json!(self.words(count)));
        }
        for _ in 0..self.rng.below(4) {
            let name = *self.rng.pick(&PARAMETERS);
            let value = if self.rng.chance(0.06) { self.wrong() } else { self.parameter(name) };
            body.insert(name.into(), value);
        }
        if self.rng.chance(0.01) {
            body.insert("unknown".into(), json!(1));
        }
        if body.contains_key("rankingScoreThreshold") {
            // Counting by offset, a server stops to count when its page is full: it depends on what it ranked by then.
            body.insert("page".into(), json!(1));
        }
        if body.contains_key("distinct") {
            // Only who has seen every hit knows how many there are; and facets count per node what is distinct there.
            body.shift_remove("facets");
            body.insert("limit".into(), json!(1000));
            for other in ["offset", "page", "hitsPerPage", "rankingScoreThreshold"] {
                body.shift_remove(other);
            }
        }
        body
    }

    pub(super) fn search_by_get(&mut self) -> Request {
        let mut query = Vec::new();
        for _ in 0..self.rng.below(4) {
            let name = *self.rng.pick(&PLAIN);
            let value = if self.rng.chance(0.08) { self.wrong() } else { self.parameter(name) };
            let text = as_parameter(name, &value);
            if !query.iter().any(|(known, _)| known == name) {
                query.push((name.to_owned(), text));
            }
        }
        Request { query, ..Request::bare("GET", format!("/indexes/{INDEX}/search")) }
    }

    pub(super) fn parameter(&mut self, name: &str) -> Value {
        let lists = [json!(["*"]), json!(["id"]), json!(["title", "crew"]), json!(["nope", "price"]), json!([])];
        match name {
            "q" => {
                let count = self.rng.below(5);
                let words = self.words(count);
                self.rng
                    .pick(&[json!(words.clone()), json!(format!("\"{words}\"")), json!(format!("-{words}"))])
                    .clone()
            }
            "offset" => json!(self.rng.pick(&[0, 1, 5, 50, 500, 2000])),
            "limit" | "hitsPerPage" => json!(self.rng.pick(&[0, 1, 3, 20, 200, 5000])),
            "page" => json!(self.rng.pick(&[0, 1, 2, 3, 40])),
            "attributesToRetrieve" | "attributesToHighlight" => self.rng.pick(&lists).clone(),
            "attributesToCrop" => self.rng.pick(&[json!(["overview:3"]), json!(["*:2"]), json!(["title"])]).clone(),
            "cropLength" => json!(self.rng.pick(&[0, 1, 4, 100])),
            "cropMarker" | "highlightPreTag" => json!(self.rng.pick(&["", "<b>", "…"])),
            "showMatchesPosition" | "showRankingScore" => json!(self.rng.chance(0.7)),
            "filter" => self.filter(),
            "sort" => self.sort(),
            "distinct" => json!(self.rng.pick(&["genre", "crew.size", "id", "overview"])),
            "facets" => self.facets(),
            "matchingStrategy" => json!(self.rng.pick(&["all", "last"])),
            "attributesToSearchOn" => self.rng.pick(&[json!(["title"]), json!(["overview", "nope"])]).clone(),
            "rankingScoreThreshold" => json!(self.rng.pick(&[0.0, 0.3, 0.8, 1.0])),
            "retrieveVectors" => json!(false),
            _ => json!(["eng"]),
        }
    }

    pub(super) fn sort(&mut self) -> Value {
        let sorts = [
            json!(["n:desc"]),
            json!(["price:asc"]),
            json!(["price:desc", "n:asc"]),
            json!(["genre:asc"]),
            json!(["_geoPoint(40.5, -20.25):asc"]),
            json!(["_geoPoint(40.5, -20.25):desc"]),
            json!(["title:asc"]),
            json!(["n"]),
            json!(["n:up"]),
            json!([]),
        ];
        self.rng.pick(&sorts).clone()
    }

    pub(super) fn facets(&mut self) -> Value {
        let facets = [
            json!(["genre"]),
            json!(["price", "tags"]),
            json!(["*"]),
            json!(["crew.size", "released"]),
            json!(["overview"]),
            json!(["genre", "nope"]),
            json!([]),
        ];
        self.rng.pick(&facets).clone()
    }
}
