//! Documents that look like a real catalogue: words reused by Zipf's law, facets, numbers, nested objects, arrays,
//! null and missing values, places.

use serde_json::{Map, Value, json};

use crate::rng::Rng;

/// Few enough that every node knows most of the words, as nodes with many documents do.
const VOCABULARY: usize = 700;

const ONSETS: [&str; 24] = [
    "b", "br", "c", "ch", "d", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "qu", "r", "s", "st", "t", "v",
    "w", "z",
];
const NUCLEI: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "ou"];
const CODAS: [&str; 12] = ["", "", "l", "n", "r", "s", "ck", "nd", "rt", "m", "x", "th"];
const SECTIONS: [&str; 12] =
    ["admin", "database", "devel", "doc", "editors", "games", "graphics", "libs", "math", "net", "science", "utils"];
const PRIORITIES: [&str; 4] = ["optional", "required", "important", "extra"];
const ROLES: [&str; 4] = ["program", "shared-library", "documentation", "app-data"];

/// A made-up language, its common words short. Rich enough in sounds that few words are a typing error apart.
#[derive(Debug)]
pub struct Vocabulary(Vec<String>);

impl Vocabulary {
    /// `size` different words.
    pub fn new(size: usize, rng: &mut Rng) -> Self {
        let mut words: Vec<String> = Vec::with_capacity(size);
        let mut known = std::collections::HashSet::new();
        while words.len() < size {
            let syllables = 1 + usize::from(words.len() > 20) + usize::from(words.len() > 60 && rng.chance(0.6));
            let word: String = (0..syllables).map(|_| syllable(rng)).collect();
            if known.insert(word.clone()) {
                words.push(word);
            }
        }
        Self(words)
    }

    /// A word, common ones more often.
    pub fn word(&self, rng: &mut Rng) -> &str {
        &self.0[rng.rank(self.0.len())]
    }

    /// Words with spaces between them.
    pub fn sentence(&self, words: usize, rng: &mut Rng) -> String {
        let words: Vec<&str> = (0..words).map(|_| self.word(rng)).collect();
        words.join(" ")
    }
}

fn syllable(rng: &mut Rng) -> String {
    [*rng.pick(&ONSETS), *rng.pick(&NUCLEI), *rng.pick(&CODAS)].concat()
}

/// How many documents a test about copying begins with: as few as said, or what `MIROIR_TEST_DOCUMENTS` says.
pub fn size(few: usize) -> usize {
    std::env::var("MIROIR_TEST_DOCUMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// `count` documents; the same for the same seed.
pub fn documents(count: usize, seed: u64) -> Vec<Value> {
    let mut rng = Rng::new(seed);
    let vocabulary = Vocabulary::new(VOCABULARY, &mut rng);
    let maintainers: Vec<String> = (0..60).map(|_| capitalised(&vocabulary.sentence(2, &mut rng))).collect();
    let sources: Vec<String> = (0..count.max(5) * 2 / 5).map(|_| vocabulary.sentence(1, &mut rng)).collect();
    (0..count).map(|i| document(i, &vocabulary, &maintainers, &sources, &mut rng)).collect()
}

fn document(i: usize, words: &Vocabulary, maintainers: &[String], sources: &[String], rng: &mut Rng) -> Value {
    let mut fields = Map::new();
    let id = if rng.chance(0.2) { json!(i) } else { json!(format!("{}_{i}", words.word(rng))) };
    fields.insert("id".into(), id);
    fields.insert("name".into(), json!(words.sentence(1 + rng.rank(3), rng).replace(' ', "-")));
    let length = 4 + rng.below(12);
    fields.insert("summary".into(), json!(capitalised(&words.sentence(length, rng))));
    fields.insert("section".into(), json!(SECTIONS[rng.rank(SECTIONS.len())]));
    fields.insert("priority".into(), json!(PRIORITIES[rng.rank(PRIORITIES.len())]));
    fields.insert("maintainer".into(), json!(maintainers[rng.rank(maintainers.len())]));
    fields.insert("source".into(), json!(rng.pick(sources)));
    let tags: Vec<Value> =
        (0..rng.below(4)).map(|_| json!(format!("{}::{}", rng.pick(&ROLES), words.word(rng)))).collect();
    fields.insert("tags".into(), Value::Array(tags));
    fields.insert("size".into(), json!(rng.number() >> (34 + rng.below(24))));
    fields.insert(
        "installed_size".into(),
        if rng.chance(0.1) { json!(rng.fraction()) } else { json!(rng.below(90_000)) },
    );
    if rng.chance(0.7) {
        let homepage = format!("https://{}.example/{}", words.word(rng), words.word(rng));
        fields.insert("homepage".into(), if rng.chance(0.15) { Value::Null } else { json!(homepage) });
    }
    fields.insert("version".into(), json!({ "major": rng.below(9), "epoch": rng.chance(0.3), "text": format!("{}.{}", rng.below(9), rng.below(30)) }));
    let depends: Vec<Value> =
        (0..rng.below(3)).map(|_| json!({ "on": words.word(rng), "least": rng.below(5) })).collect();
    fields.insert("depends".into(), Value::Array(depends));
    if rng.chance(0.9) {
        let thousandth = |degrees: f64| (degrees * 1000.0).round() / 1000.0;
        let lat = thousandth(rng.fraction() * 160.0 - 80.0);
        let lng = thousandth(rng.fraction() * 350.0 - 175.0);
        fields.insert("_geo".into(), json!({ "lat": lat, "lng": lng }));
    }
    Value::Object(fields)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// One JSON document a line.
pub fn ndjson(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_documents() {
        assert_eq!(documents(50, 7), documents(50, 7));
        assert_ne!(documents(50, 7), documents(50, 8));
    }

    #[test]
    fn common_words_are_common() {
        let all = documents(500, 1);
        let mut counts = std::collections::HashMap::new();
        for document in &all {
            for word in document["summary"].as_str().unwrap_or("").to_lowercase().split(' ') {
                *counts.entry(word.to_owned()).or_insert(0) += 1;
            }
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let once = counts.values().filter(|count| **count == 1).count();
        assert!(most > 100, "the commonest word occurs {most} times");
        assert!(once > 10, "{once} words occur once");
    }
}
