//! Which requests there are. Everything comes from one seed.
//!
//! The documents leave nothing to chance: the last ranking rule sorts by a number that each has for itself, so no two
//! rank equal, and every node knows every word. What is left to differ is a fault.

mod control;
mod federation;
mod multi_search;
mod other_reads;
mod reads;
mod search;
mod writes;

use serde_json::{Value, json};

use super::Request;
use crate::rng::Rng;
use crate::twin::Twin;

/// The index that is searched most; like [`OTHER`] and [`VECTORS`] it never changes.
const INDEX: &str = "films";

/// A smaller one, set up in other ways: it displays less, shows three values of a facet and thirty hits.
pub(super) const OTHER: &str = "books";

/// One with an embedder.
const VECTORS: &str = "vectors";

/// The index that is written to.
const SCRATCH: &str = "scratch";

const WORDS: [&str; 12] = [
    "lantern", "harbour", "winter", "garden", "signal", "copper", "thunder", "meadow", "falcon", "marble", "silver",
    "orchard",
];

/// None differs from another by case alone: a facet is called as the first document spells it, and which one that is
/// nobody knows across nodes.
const GENRES: [&str; 4] = ["Drama", "Comedy", "Film Noir", "été"];

/// So many documents with numbers of their own, from `first` on.
fn documents(seed: u64, first: usize, count: usize) -> Value {
    let mut rng = Rng::new(seed);
    let text = |rng: &mut Rng, count| (0..count).map(|_| *rng.pick(&WORDS)).collect::<Vec<_>>().join(" ");
    (0..count)
        .map(|id| {
            let mut film = json!({
                "id": id,
                "n": first + (id * 37) % 1009,
                "title": text(&mut rng, 3),
                "overview": text(&mut rng, 8),
                "genre": rng.pick(&GENRES),
                "price": rng.below(40) as f64 / 4.0,
                "released": rng.chance(0.5),
                "tags": [rng.pick(&WORDS), rng.pick(&GENRES)],
                "crew": { "director": rng.pick(&WORDS), "size": rng.below(9) },
            });
            match rng.below(6) {
                0 => film["price"] = Value::Null,
                1 => film["genre"] = json!([]),
                2 => film["_geo"] = json!({ "lat": rng.below(80) as f64, "lng": rng.below(170) as f64 }),
                3 => film["price"] = json!("unknown"),
                _ => {}
            }
            film
        })
        .collect()
}

fn settings() -> Value {
    json!({
        "searchableAttributes": ["title", "overview", "crew.director"],
        "filterableAttributes": ["n", "price", "genre", "tags", "released", "crew", "_geo", "id"],
        "sortableAttributes": ["n", "price", "genre", "_geo"],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness", "n:asc"],
    })
}

/// Two small indexes, and tasks of several kinds and ends, for what is not about documents.
#[track_caller]
pub fn load_little(twin: &Twin, seed: u64) {
    for index in [INDEX, OTHER] {
        twin.create(index);
        twin.configure(index, &settings());
        twin.load(index, &documents(seed, 0, 12));
    }
    for client in twin.clients() {
        client.failed(&client.post("/indexes", &json!({ "uid": INDEX })));
        client.failed(&client.add(INDEX, &json!([{ "id": "a b" }])));
        client.done(&client.delete(&format!("/indexes/{INDEX}/documents/999")));
        client.done(&client.post(&format!("/indexes/{INDEX}/documents/delete"), &json!({ "filter": "n > 100000" })));
        client.failed(&client.delete("/indexes/missing"));
        // Every server makes default keys with uids of its own.
        for key in client.get("/keys").body["results"].as_array().into_iter().flatten() {
            assert_eq!(client.delete(&format!("/keys/{}", key["uid"].as_str().unwrap_or_default())).status, 204);
        }
    }
}

/// Fills the indexes that are read, and creates the empty ones.
#[track_caller]
pub fn load(twin: &Twin, seed: u64) {
    for index in [INDEX, OTHER, VECTORS, SCRATCH] {
        twin.create(index);
    }
    twin.configure(INDEX, &settings());
    twin.load(INDEX, &documents(seed, 0, 120));
    let mut other = settings();
    other["filterableAttributes"] = json!(["n", "price", "genre", "crew"]);
    other["displayedAttributes"] = json!(["id", "n", "title", "genre", "crew"]);
    other["faceting"] = json!({ "maxValuesPerFacet": 3 });
    other["pagination"] = json!({ "maxTotalHits": 30 });
    twin.configure(OTHER, &other);
    twin.load(OTHER, &documents(seed + 1, 2000, 60));
    let embedder = json!({ "e": { "source": "userProvided", "dimensions": 3 } });
    let mut semantic = settings();
    semantic["embedders"] = embedder;
    twin.configure(VECTORS, &semantic);
    let mut rng = Rng::new(seed);
    let mut vectors = documents(seed + 2, 4000, 50);
    for document in vectors.as_array_mut().into_iter().flatten() {
        let vector: Vec<f64> = (0..3).map(|_| (rng.below(2001) as f64 - 1000.0) / 1000.0).collect();
        // Some have none.
        document["_vectors"] = if rng.chance(0.9) { json!({ "e": vector }) } else { json!({ "e": null }) };
    }
    twin.load(VECTORS, &vectors);
}

/// Makes requests.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
}

impl Generator {
    /// The requests of this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }

    /// A request that changes nothing.
    pub fn read(&mut self) -> Request {
        match self.rng.below(40) {
            0..11 => self.search(),
            11..14 => self.search_by_get(),
            14..18 => self.multi_search(),
            18..24 => self.federated_search(),
            24..26 => self.facet_search(),
            26..28 => self.similar(),
            28 => self.sorted_documents(),
            29..32 => self.documents(),
            32 => self.one_document(),
            33 => self.settings_read(),
            34 => self.tasks(),
            35 => self.indexes(),
            36 => self.semantic_search(),
            37 => self.fields(),
            _ => self.nonsense(),
        }
    }

    /// A request that changes something, or is refused.
    pub fn write(&mut self) -> Request {
        match self.rng.below(10) {
            0..4 => self.additions(),
            4..6 => self.deletions(),
            6..9 => self.settings_write(),
            _ => self.index_write(),
        }
    }

    fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    /// A word, its beginning, or the word with a typo.
    fn word(&mut self) -> String {
        let word = *self.rng.pick(&WORDS);
        match self.rng.below(5) {
            0 => word[..2 + self.rng.below(3)].to_owned(),
            1 => format!("{}{}", &word[..2], &word[3..]),
            _ => word.to_owned(),
        }
    }

    /// A value that is wrong almost anywhere.
    fn wrong(&mut self) -> Value {
        let values = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.5),
            json!("x"),
            json!(""),
            json!([]),
            json!({}),
            json!([1]),
            json!([["x"], [["y"]]]),
            json!({ "x": 1 }),
            json!(18_446_744_073_709_551_615_u64),
            json!([null]),
            json!("*"),
        ];
        self.rng.pick(&values).clone()
    }

    /// A filter; some do not parse, some name what is not filterable.
    fn filter(&mut self) -> Value {
        let clause = self.clause();
        let other = self.clause();
        match self.rng.below(9) {
            0..4 => json!(clause),
            4 => json!(format!("{clause} AND {other}")),
            5 => json!(format!("NOT ({clause} OR {other})")),
            6 => json!([clause, [other, self.clause()]]),
            7 => json!([[clause]]),
            _ => json!([]),
        }
    }

    fn clause(&mut self) -> String {
        let number = self.rng.below(1000);
        let genre = *self.rng.pick(&GENRES);
        match self.rng.below(20) {
            0..3 => format!("n > {number}"),
            3 => format!("n {number} TO {}", number + 200),
            4..6 => format!("genre = '{genre}'"),
            6 => format!("genre IN ['{genre}', Comedy]"),
            7 => format!("NOT tags = {}", self.rng.pick(&WORDS)),
            8 => "price IS NULL".into(),
            9 => "price EXISTS".into(),
            10 => "genre IS EMPTY".into(),
            11 => format!("released = {}", self.rng.chance(0.5)),
            12 => format!("crew.size <= {}", self.rng.below(9)),
            13 => format!("_geoRadius({}, {}, 3000000)", self.rng.below(80), self.rng.below(170)),
            14 => "_geoBoundingBox([60, 90], [10, 20])".into(),
            15 => format!("id = {}", self.rng.below(130)),
            16 => format!("overview = {number}"),
            17 => "genre = ".into(),
            18 => format!("genre STARTS WITH {}", &genre[..2]),
            _ => format!("(n > {number}"),
        }
    }
}

/// The value as a GET carries it.
fn as_parameter(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if name != "filter" => {
            let words: Vec<String> =
                list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
            words.join(",")
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}
