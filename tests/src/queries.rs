//! Searches of every class that the parity of a cluster with one server is measured on.

use serde_json::{Map, Value, json};

use crate::rng::Rng;

/// The classes, in the order in which they are asked and reported.
pub const CLASSES: [&str; 16] = [
    "plain",
    "typo",
    "prefix",
    "phrase",
    "negative",
    "all",
    "frequency",
    "filter",
    "sort",
    "facets",
    "distinct",
    "deep",
    "paged",
    "fields",
    "threshold",
    "searchon",
];

const SORTS: [&[&str]; 10] = [
    &["size:asc"],
    &["size:desc"],
    &["name:asc"],
    &["name:desc"],
    &["section:asc", "size:desc"],
    &["installed_size:desc", "name:asc"],
    &["homepage:asc", "name:asc"],
    &["homepage:desc", "name:asc"],
    &["_geoPoint(10.5, -20.25):asc"],
    &["_geoPoint(48.8, 2.3):desc"],
];

/// The settings that the searches need.
pub fn settings() -> Value {
    json!({
        "searchableAttributes": ["name", "summary", "tags", "maintainer", "source"],
        "filterableAttributes": ["section", "priority", "maintainer", "tags", "size", "installed_size", "depends", "source", "id", "version.epoch", "_geo"],
        "sortableAttributes": ["size", "installed_size", "name", "section", "homepage", "_geo"],
        "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha", "section": "count" } },
    })
}

/// `each` searches of every class about `documents`, with the class's name.
pub fn generate(documents: &[Value], each: usize, seed: u64) -> Vec<(&'static str, Value)> {
    let mut maker = Maker { documents, rng: Rng::new(seed) };
    let classes = std::iter::repeat_n(CLASSES, each).flatten();
    classes.map(|class| (class, Value::Object(maker.search(class)))).collect()
}

struct Maker<'a> {
    documents: &'a [Value],
    rng: Rng,
}

impl Maker<'_> {
    fn document(&mut self) -> &Value {
        self.rng.pick(self.documents)
    }

    fn words(&mut self, count: usize) -> Vec<String> {
        let document = self.document();
        let text =
            format!("{} {}", document["summary"].as_str().unwrap_or(""), document["name"].as_str().unwrap_or(""));
        let words: Vec<String> = text.replace('-', " ").split_whitespace().map(str::to_owned).collect();
        let start = self.rng.below(words.len().saturating_sub(count) + 1);
        words.into_iter().skip(start).take(count).collect()
    }

    fn text(&mut self, count: usize) -> String {
        self.words(count).join(" ")
    }

    fn maybe_words(&mut self) -> String {
        if self.rng.chance(0.5) { String::new() } else { self.text(1) }
    }

    fn search(&mut self, class: &str) -> Map<String, Value> {
        let fields = match class {
            "plain" => {
                let n = *self.rng.pick(&[1, 1, 2, 2, 3, 4]);
                json!({ "q": self.text(n) })
            }
            "typo" => {
                let n = *self.rng.pick(&[1, 2, 3]);
                let words: Vec<String> = self.words(n).iter().map(|word| self.misspelt(word)).collect();
                json!({ "q": words.join(" ") })
            }
            "prefix" => {
                let n = *self.rng.pick(&[1, 2, 3]);
                let mut text = self.text(n);
                let last = text.rfind(' ').map_or(0, |space| space + 1);
                let cut = self.rng.below(4).min(text.len() - last - 1);
                text.truncate(text.len() - cut);
                json!({ "q": text })
            }
            "phrase" => json!({ "q": format!("\"{}\"", self.text(2)) }),
            "negative" => {
                let words = self.words(2);
                json!({ "q": format!("{} -{}", words[0], words[words.len() - 1]) })
            }
            "all" | "frequency" => json!({ "q": self.text(3), "matchingStrategy": class }),
            "filter" => json!({ "q": self.maybe_words(), "filter": self.filter() }),
            "sort" => {
                let n = self.rng.below(3);
                json!({ "q": self.text(n), "sort": self.rng.pick(&SORTS) })
            }
            "facets" => self.facets(),
            "distinct" => json!({ "q": self.text(1), "distinct": self.rng.pick(&["source", "section", "maintainer"]) }),
            "deep" => {
                json!({ "q": self.text(1), "offset": self.rng.pick(&[5, 20, 60, 200]), "limit": self.rng.pick(&[1, 7, 20]) })
            }
            "paged" => {
                json!({ "q": self.text(1), "page": self.rng.pick(&[1, 2, 3]), "hitsPerPage": self.rng.pick(&[0, 5, 20]) })
            }
            "fields" => self.fields(),
            "threshold" => json!({ "q": self.text(2), "rankingScoreThreshold": self.rng.pick(&[0.5, 0.9]) }),
            "searchon" => json!({ "q": self.text(1), "attributesToSearchOn": ["summary"] }),
            other => panic!("no class of searches is called {other}"),
        };
        let Value::Object(fields) = fields else { panic!("a search is an object") };
        fields
    }

    fn facets(&mut self) -> Value {
        let lists: [&[&str]; 4] = [&["section"], &["priority", "size"], &["*"], &["tags", "version.epoch"]];
        let mut body = json!({ "q": self.maybe_words(), "facets": self.rng.pick(&lists) });
        if self.rng.chance(0.5) {
            body["filter"] = self.filter();
        }
        body
    }

    fn fields(&mut self) -> Value {
        let lists: [&[&str]; 3] = [&["id"], &["name", "version"], &["*"]];
        json!({
            "q": self.text(1),
            "attributesToRetrieve": self.rng.pick(&lists),
            "attributesToHighlight": ["*"],
            "attributesToCrop": ["summary:5"],
            "showMatchesPosition": true,
        })
    }

    fn filter(&mut self) -> Value {
        let other = [self.document()["id"].clone(), self.document()["id"].clone()];
        let document = self.document().clone();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (section, size, id) = (text(&document["section"]), &document["size"], text(&document["id"]));
        match self.rng.below(8) {
            0 => json!(format!("section = {section}")),
            1 => json!(format!("size > {size}")),
            2 => {
                let least = document["installed_size"].as_f64().unwrap_or(0.0);
                json!(format!("installed_size {least} TO {}", least * 20.0 + 10.0))
            }
            3 => json!([[format!("section = \"{section}\""), "priority = optional"], "size > 20000"]),
            4 => json!(format!("NOT section = \"{section}\" AND version.epoch = true")),
            5 => json!(format!("id IN [\"{id}\", \"{}\", \"{}\"]", text(&other[0]), text(&other[1]))),
            6 => {
                let radius = *self.rng.pick(&[200_000, 2_000_000]);
                let place = &document["_geo"];
                let (lat, lng) = (place["lat"].as_f64().unwrap_or(10.0), place["lng"].as_f64().unwrap_or(20.0));
                json!(format!("_geoRadius({lat}, {lng}, {radius})"))
            }
            _ => json!("tags IS EMPTY"),
        }
    }

    /// A word of five letters or more with one letter dropped, replaced or swapped with the next.
    fn misspelt(&mut self, word: &str) -> String {
        let mut letters: Vec<char> = word.chars().collect();
        if letters.len() < 5 {
            return word.to_owned();
        }
        let at = 1 + self.rng.below(letters.len() - 2);
        match self.rng.below(3) {
            0 => {
                letters.remove(at);
            }
            1 => letters[at] = char::from(b'a' + self.rng.below(26) as u8),
            _ => letters.swap(at, at + 1),
        }
        letters.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_asked_equally_often() {
        let documents = crate::dataset::documents(100, 1);
        let searches = generate(&documents, 5, 2);
        assert_eq!(searches.len(), CLASSES.len() * 5);
        for class in CLASSES {
            assert_eq!(searches.iter().filter(|(name, _)| *name == class).count(), 5);
        }
    }
}
