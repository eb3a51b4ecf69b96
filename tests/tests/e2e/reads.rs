//! Facet search, multi-search, similar documents, vectors and hybrid search: a cluster answers them as one server holding
//! everything would.

use std::sync::OnceLock;

use serde_json::{Value, json};

use miroir_tests::parity::leaks;
use miroir_tests::{Answer, Client, Differences, Rng, Twin, dataset, queries};

pub(super) const CATALOGUE: &str = "catalogue";
pub(super) const SHOP: &str = "shop";

/// A unit vector; different documents have different ones.
fn vector(rng: &mut Rng) -> Vec<f64> {
    let raw: Vec<f64> = (0..4).map(|_| rng.fraction() - 0.5).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-6);
    raw.into_iter().map(|x| (x / length * 1e6).round() / 1e6).collect()
}

fn documents(count: usize, seed: u64) -> Vec<Value> {
    let mut rng = Rng::new(seed * 7 + 1);
    let mut documents = dataset::documents(count, seed);
    for document in &mut documents {
        let vector = if rng.chance(0.95) { json!(vector(&mut rng)) } else { Value::Null };
        document["_vectors"] = json!({ "e": vector });
    }
    documents
}

fn settings() -> Value {
    let mut settings = queries::settings();
    settings["embedders"] = json!({ "e": { "source": "userProvided", "dimensions": 4 } });
    settings
}

pub(super) struct World {
    pub(super) twin: &'static Twin,
    pub(super) catalogue: Vec<Value>,
    pub(super) shop: Vec<Value>,
}

/// Two indexes on a cluster and on a lone node.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let twin = Twin::shared();
        let (catalogue, shop) = (documents(700, 31), documents(250, 32));
        for (index, documents) in [(CATALOGUE, &catalogue), (SHOP, &shop)] {
            twin.create(index);
            twin.configure(index, &settings());
            twin.load(index, &json!(documents));
        }
        World { twin, catalogue, shop }
    })
}

impl World {
    /// Both servers' answers to one request, of which nothing of ours may leak.
    pub(super) fn ask(&self, ask: impl Fn(&Client) -> Answer) -> [Answer; 2] {
        let answers = self.twin.clients().map(|client| ask(&client));
        // A refusal repeats what the client itself named.
        assert!(answers[0].status != 200 || !leaks(&answers[0].text), "{}", answers[0].text);
        answers
    }

    /// Notes a difference between the two in what `view` makes of their answers.
    pub(super) fn compare<T: PartialEq + std::fmt::Debug>(
        &self,
        differences: &mut Differences,
        case: &str,
        ask: impl Fn(&Client) -> Answer,
        view: impl Fn(&Answer) -> T,
    ) {
        let [ours, theirs] = self.ask(ask);
        differences.check(case, &(ours.verdict(), view(&ours)), &(theirs.verdict(), view(&theirs)));
    }
}

pub(super) fn word(documents: &[Value], rng: &mut Rng) -> String {
    let text = rng.pick(documents)["summary"].as_str().unwrap_or("").to_owned();
    let words: Vec<&str> = text.split(' ').collect();
    (*rng.pick(&words)).to_owned()
}

/// The values of `facet` in all documents, for queries about them.
fn facet_query(documents: &[Value], facet: &str, rng: &mut Rng) -> String {
    let value = match &rng.pick(documents)[facet] {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.first().and_then(Value::as_str).unwrap_or("p").to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "a".to_owned(),
    };
    value.chars().take(1 + rng.below(5)).collect()
}

#[test]
fn facet_values_are_found_and_counted_as_by_one_server() {
    let world = world();
    let mut rng = Rng::new(5);
    let mut differences = Differences::default();
    for i in 0..120 {
        let facet =
            *rng.pick(&["section", "maintainer", "tags", "source", "priority", "size", "depends", "depends.on"]);
        let mut body = json!({ "facetName": facet });
        if rng.chance(0.7) {
            body["facetQuery"] = json!(facet_query(&world.catalogue, facet, &mut rng));
        }
        if rng.chance(0.4) {
            body["q"] = json!(word(&world.catalogue, &mut rng));
        }
        if rng.chance(0.4) {
            body["filter"] = json!([["section = libs", "section = net", "section = admin"], "size > 1000"]);
        }
        match i % 6 {
            0 => body["limit"] = json!(1),
            1 => body["exhaustiveFacetCount"] = json!(true),
            2 => body["matchingStrategy"] = json!("all"),
            3 => body["attributesToSearchOn"] = json!(["summary"]),
            _ => {}
        }
        let path = format!("/indexes/{CATALOGUE}/facet-search");
        world.compare(
            &mut differences,
            &body.to_string(),
            |client| client.post(&path, &body),
            |answer| (answer.body["facetHits"].clone(), answer.body["facetQuery"].clone()),
        );
    }
    differences.none();
}

#[test]
fn facet_searches_are_refused_as_by_one_server() {
    let world = world();
    for body in [
        json!({}),
        json!({ "facetName": 1 }),
        json!({ "facetName": "name" }),
        json!({ "facetName": "_miroir_shard" }),
        json!({ "facetName": "_miroir_updated_at", "facetQuery": "\u{2055}" }),
        json!({ "facetName": "section", "facetQuery": 1 }),
        json!({ "facetName": "section", "filter": 5 }),
        json!({ "facetName": "section", "filter": "nope = 1" }),
        json!({ "facetName": "section", "filter": "size = 1) OR (size > 0" }),
        json!({ "facetName": "section", "matchingStrategy": "some" }),
        json!([]),
    ] {
        let path = format!("/indexes/{CATALOGUE}/facet-search");
        let [ours, theirs] = world.ask(|client| client.post(&path, &body));
        assert_eq!(ours.verdict(), theirs.verdict(), "{body}: {}\n{}", ours.text, theirs.text);
        assert_ne!(ours.status, 200, "{body}");
    }
    let [ours, theirs] = world.ask(|client| client.post("/indexes/nowhere/facet-search", &json!({ "facetName": "a" })));
    assert_eq!(ours.verdict(), theirs.verdict());
}

fn by_details(answer: &Value, reference: &Value) -> Vec<(miroir_tests::parity::Aspect, bool)> {
    miroir_tests::parity::compare(reference, answer)
}

/// How many of the comparisons agree, and the first few that do not.
#[derive(Default)]
pub(super) struct Share {
    asked: usize,
    agreed: usize,
    examples: Vec<String>,
}

impl Share {
    pub(super) fn note(&mut self, agree: bool, example: impl FnOnce() -> String) {
        self.asked += 1;
        self.agreed += usize::from(agree);
        if !agree && self.examples.len() < 5 {
            self.examples.push(example());
        }
    }

    #[track_caller]
    pub(super) fn at_least(&self, bar: f64) {
        let share = self.agreed as f64 / self.asked.max(1) as f64;
        println!("{} of {} agree", self.agreed, self.asked);
        assert!(share >= bar, "{} of {} agree:\n{}", self.agreed, self.asked, self.examples.join("\n"));
    }
}

/// Searches that do not depend on the words that a node knows, and some that do.
fn search_queries(world: &World, count: usize, seed: u64) -> Vec<Value> {
    let searches = queries::generate(&world.catalogue, count.div_ceil(queries::CLASSES.len()) + 1, seed);
    let mut searches: Vec<Value> = searches
        .into_iter()
        // Development nodes refuse a pattern of facets where no rule is one.
        .filter(|(class, search)| !matches!(*class, "frequency" | "distinct") && search["facets"] != json!(["*"]))
        .map(|(_, search)| search)
        .collect();
    searches.truncate(count);
    searches
}

#[test]
fn every_query_of_a_multi_search_is_answered_as_by_one_server() {
    let world = world();
    let mut rng = Rng::new(8);
    let searches = search_queries(world, 200, 3);
    let mut share = Share::default();
    for _ in 0..40 {
        let mut chosen: Vec<Value> = (0..1 + rng.below(9))
            .map(|_| {
                let mut query = rng.pick(&searches).clone();
                query["indexUid"] = json!(if rng.chance(0.7) { CATALOGUE } else { SHOP });
                query["showRankingScoreDetails"] = json!(true);
                query
            })
            .collect();
        if rng.chance(0.5) {
            let again = rng.pick(&chosen).clone();
            chosen.push(again);
        }
        let body = json!({ "queries": chosen });
        let [ours, theirs] = world.ask(|client| client.post("/multi-search", &body));
        assert_eq!(ours.verdict(), theirs.verdict(), "{body}\n{}\n{}", ours.text, theirs.text);
        assert_eq!(ours.header("x-miroir-degraded"), None);
        let results = |answer: &Answer| answer.body["results"].as_array().cloned().unwrap_or_default();
        let (ours, theirs) = (results(&ours), results(&theirs));
        assert_eq!(ours.len(), chosen.len(), "{body}");
        for ((ours, theirs), query) in ours.iter().zip(&theirs).zip(&chosen) {
            assert_eq!((&ours["indexUid"], &ours["query"]), (&theirs["indexUid"], &theirs["query"]), "{query}");
            for (aspect, agree) in by_details(ours, theirs) {
                share.note(agree, || format!("{aspect:?} {query}\n  {ours}\n  {theirs}"));
            }
        }
    }
    // Typos and prefixes may stand for words that another node knows: see `parity::bar`.
    share.at_least(0.98);
}

#[test]
fn a_multi_search_fails_as_a_whole_where_one_server_fails_it() {
    let world = world();
    let good = json!({ "indexUid": CATALOGUE, "limit": 1 });
    let bodies = [
        json!({}),
        json!({ "queries": {} }),
        json!({ "queries": [], "zork": 1 }),
        json!({ "queries": [1] }),
        json!({ "queries": [{ "q": "a" }] }),
        json!({ "queries": [good, { "indexUid": "a b" }] }),
        json!({ "queries": [good, { "indexUid": "nowhere" }] }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "filter": "nope = 1" }, { "indexUid": "nowhere" }] }),
        json!({ "queries": [{ "indexUid": "nowhere" }, { "indexUid": CATALOGUE, "filter": "nope = 1" }] }),
        json!({ "queries": [good, good, { "indexUid": SHOP, "sort": ["nope:asc"] }] }),
        json!({ "queries": [good, { "indexUid": SHOP, "facets": ["_miroir_shard"] }] }),
        json!({ "queries": [good, { "indexUid": SHOP, "filter": "_miroir_shard EXISTS" }] }),
        json!({ "queries": [good, { "indexUid": SHOP, "limit": "x" }] }),
        json!({ "queries": [good, { "indexUid": SHOP, "federationOptions": { "weight": 1.0 } }] }),
        json!({ "queries": [{ "indexUid": "nowhere" }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "limit": 1 }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "facets": ["section"] }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE }], "federation": { "limit": "x" } }),
        json!({ "queries": [{ "indexUid": CATALOGUE }], "federation": { "zork": 1 } }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "federationOptions": { "weight": -1.0 } }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "federationOptions": { "remote": "r" } }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE, "federationOptions": { "queryPosition": 1 } }], "federation": {} }),
        json!({ "queries": [{ "indexUid": CATALOGUE }], "federation": { "facetsByIndex": { CATALOGUE: ["nope"] } } }),
        json!({ "queries": [{ "indexUid": CATALOGUE }], "federation": { "facetsByIndex": { "nowhere": ["nope"] } } }),
        json!({ "queries": [{ "indexUid": CATALOGUE }], "federation": { "facetsByIndex": { SHOP: ["nope"] } } }),
        json!({ "queries": [
            { "indexUid": CATALOGUE, "sort": ["size:asc"] }, { "indexUid": SHOP, "sort": ["size:desc"] },
        ], "federation": {} }),
    ];
    let place = |answer: &Answer| {
        let message = answer.body["message"].as_str().unwrap_or("").to_owned();
        message.starts_with("Inside `.queries[").then(|| message.chars().take(19).collect::<String>())
    };
    let mut differences = Differences::default();
    for body in bodies {
        let [ours, theirs] = world.ask(|client| client.post("/multi-search", &body));
        let seen = |answer: &Answer| (answer.verdict(), place(answer));
        differences.check(&body.to_string(), &seen(&ours), &seen(&theirs));
        assert_ne!(theirs.status, 200, "{body}");
    }
    differences.none();
    let [ours, theirs] =
        world.ask(|client| client.post("/multi-search", &json!({ "queries": [], "federation": null })));
    assert_eq!(ours.body, theirs.body);
}

pub(super) fn ids(answer: &Answer) -> Vec<String> {
    let hits = answer.body["hits"].as_array().cloned().unwrap_or_default();
    hits.iter().map(|hit| hit["id"].to_string()).collect()
}

#[test]
fn similar_documents_are_found_as_by_one_server() {
    let world = world();
    let mut rng = Rng::new(41);
    let (mut differences, mut near) = (Differences::default(), Nearness::default());
    let path = format!("/indexes/{CATALOGUE}/similar");
    for i in 0..60 {
        let target = rng.pick(&world.catalogue).clone();
        let mut body = json!({ "id": target["id"], "embedder": "e", "limit": rng.below(20) });
        match i % 6 {
            0 => body["offset"] = json!(rng.below(8)),
            1 => body["filter"] = json!([["section = libs", "section = net"]]),
            2 => body["rankingScoreThreshold"] = json!(0.8),
            3 => body["attributesToRetrieve"] = json!(["name"]),
            4 => body["retrieveVectors"] = json!(true),
            _ => body["showRankingScoreDetails"] = json!(true),
        }
        body["showRankingScore"] = json!(true);
        let [ours, theirs] = world.ask(|client| client.post(&path, &body));
        let rest = |answer: &Answer| {
            let named = |name: &str| answer.body.get(name).cloned();
            // Below a threshold one server counts what it happened to find above it.
            let total = named("estimatedTotalHits").filter(|_| i % 6 != 2);
            (answer.verdict(), named("id"), named("limit"), named("offset"), total)
        };
        differences.check(&body.to_string(), &rest(&ours), &rest(&theirs));
        let shapes = |answer: &Answer| -> Vec<Vec<String>> {
            let hits = answer.body["hits"].as_array().cloned().unwrap_or_default();
            let names = |hit: &Value| {
                let mut names: Vec<String> =
                    hit.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
                names.retain(|name| !matches!(name.as_str(), "homepage" | "_geo"));
                names.sort();
                names
            };
            hits.iter().map(names).collect()
        };
        assert!(!ids(&ours).contains(&target["id"].to_string()), "{body}");
        if i % 6 != 2 {
            near.add(&body.to_string(), &scores(&ours), &scores(&theirs));
        }
        if let (Some(ours), Some(theirs)) = (shapes(&ours).first(), shapes(&theirs).first()) {
            differences.check(&format!("names in {body}"), ours, theirs);
        }
    }
    near.is_as_near();
    let id = world.catalogue[3]["id"].as_str().map_or_else(|| world.catalogue[3]["id"].to_string(), str::to_owned);
    for query in [
        format!("id={id}&embedder=e&limit=3&showRankingScore=true"),
        format!("id={id}&embedder=e&filter=size%20%3E%201000&attributesToRetrieve=id,name"),
        format!("id={id}&embedder=e&limit=x"),
        format!("id={id}"),
        "id=nobody&embedder=e".to_owned(),
    ] {
        world.compare(
            &mut differences,
            &query,
            |client| client.get(&format!("{path}?{query}")),
            |answer| ids(answer).len(),
        );
    }
    for body in [
        json!({ "id": id, "embedder": "x" }),
        json!({ "id": id, "embedder": "e", "filter": "nope = 1" }),
        json!({ "id": id, "embedder": "e", "filter": "_miroir_shard EXISTS" }),
        json!({ "id": id, "embedder": "e", "limit": -1 }),
        json!({ "id": id, "embedder": "e", "rankingScoreThreshold": 3 }),
        json!({ "id": id, "embedder": "e", "zork": 3 }),
        json!({ "id": "a b", "embedder": "e" }),
        json!({ "id": 1.5, "embedder": "e" }),
        json!({ "id": "nobody", "embedder": "e" }),
        json!({ "id": "nobody", "embedder": "e", "filter": "nope = 1" }),
        json!({ "embedder": "e" }),
    ] {
        world.compare(
            &mut differences,
            &body.to_string(),
            |client| client.post(&path, &body),
            |answer| answer.status == 200,
        );
    }
    differences.none();
}

#[test]
fn vectors_and_words_mix_as_in_one_server() {
    let world = world();
    let mut rng = Rng::new(53);
    let (mut vectors, mut mixed, mut counts) = (Nearness::default(), Share::default(), Share::default());
    for i in 0..120 {
        let ratio = *rng.pick(&[0.0, 0.2, 0.5, 0.8, 1.0]);
        let mut body = json!({
            "vector": vector(&mut rng),
            "hybrid": { "embedder": "e", "semanticRatio": ratio },
            "limit": 1 + rng.below(20),
            "offset": rng.below(10),
            "showRankingScore": true,
        });
        if ratio < 1.0 || i % 3 == 0 {
            body["q"] = json!(word(&world.catalogue, &mut rng));
        }
        if i % 4 == 0 {
            body["filter"] = json!("size > 1000");
        }
        let [ours, theirs] = world.ask(|client| client.search(CATALOGUE, &body));
        assert_eq!(ours.verdict(), theirs.verdict(), "{body}: {}", ours.text);
        let (found, wanted) = (scores(&ours), scores(&theirs));
        let semantic = |answer: &Answer| answer.body.get("semanticHitCount").cloned();
        let example = || format!("{body}\n  {found:?} {:?}\n  {wanted:?} {:?}", semantic(&ours), semantic(&theirs));
        if ratio == 1.0 {
            vectors.add(&body.to_string(), &found, &wanted);
            counts.note(semantic(&ours) == semantic(&theirs), example);
        } else {
            mixed.note(found == wanted && semantic(&ours) == semantic(&theirs), example);
        }
    }
    vectors.is_as_near();
    counts.at_least(1.0);
    // Vectors are found approximately; and a node leaves vectors out when its own keyword hits are good enough.
    mixed.at_least(0.55);
}

fn scores(answer: &Answer) -> Vec<i64> {
    let hits = answer.body["hits"].as_array().cloned().unwrap_or_default();
    hits.iter().map(|hit| (hit["_rankingScore"].as_f64().unwrap_or(-1.0) * 1e6).round() as i64).collect()
}

/// How near the documents found by vectors are, summed over searches. Servers find near vectors only approximately, and
/// two indexes of the same vectors find different ones: single searches cannot be held against one another.
#[derive(Default)]
struct Nearness {
    found: i64,
    wanted: i64,
}

impl Nearness {
    /// As many hits, in order.
    #[track_caller]
    fn add(&mut self, what: &str, found: &[i64], wanted: &[i64]) {
        assert_eq!(found.len(), wanted.len(), "{what}");
        assert!(found.is_sorted_by(|a, b| a >= b), "{what}: {found:?}");
        self.found += found.iter().sum::<i64>();
        self.wanted += wanted.iter().sum::<i64>();
    }

    #[track_caller]
    fn is_as_near(&self) {
        println!("{} found, {} wanted", self.found, self.wanted);
        assert!(self.found as f64 >= self.wanted as f64 * 0.99, "{} found, {} wanted", self.found, self.wanted);
    }
}

#[test]
fn a_request_may_have_nodes_asked_for_more_where_vectors_take_part() {
    let world = world();
    let client = world.twin.cluster.client();
    let body = json!({ "vector": [1.0, 0.0, 0.0, 0.0], "hybrid": { "embedder": "e", "semanticRatio": 1.0 }, "limit": 5,
        "showRankingScore": true });
    let (mut near, mut body) = (Nearness::default(), body);
    let mut rng = Rng::new(59);
    for _ in 0..20 {
        body["vector"] = json!(vector(&mut rng));
        let plain = client.search(CATALOGUE, &body).expect(200);
        let more = client.with_header("x-miroir-over-fetch", "3").search(CATALOGUE, &body).expect(200);
        near.add(&body.to_string(), &scores(&more), &scores(&plain));
    }
    near.is_as_near();
    for wrong in ["0", "101", "x", "-1", "1.5"] {
        let answer = client.with_header("x-miroir-over-fetch", wrong).search(CATALOGUE, &body);
        assert_eq!(answer.verdict(), (400, "miroir_invalid_header".to_owned()), "{wrong}");
    }
}
