//! Nothing of ours shows, and nothing of ours is found.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use miroir_tests::parity::leaks;
use miroir_tests::{Answer, Client, Cluster, Node, eventually, shape};

const DOCUMENTS: usize = 400;

struct Fixture {
    cluster: Cluster,
    reference: Node,
}

/// A cluster of 64 shards and a lone node with the same documents, in which no digit occurs.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let fixture =
            Fixture { cluster: Cluster::builder().nodes(3).rf(2).shards(64).start(), reference: Node::single() };
        for client in fixture.both() {
            client.create("plain", "id");
            client.load("plain", &documents());
        }
        fixture
    })
}

impl Fixture {
    fn both(&self) -> [Client; 2] {
        [self.cluster.client(), self.reference.client()]
    }
}

/// A number in letters.
fn letters(mut i: usize) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b'a' + (i % 26) as u8));
        i /= 26;
        if i == 0 {
            return text;
        }
    }
}

fn documents() -> Value {
    let document = |i| json!({ "id": format!("doc-{}", letters(i)), "title": format!("hello {}", letters(i * 7)), "tags": ["red", letters(i % 5)] });
    (0..DOCUMENTS).map(document).collect()
}

#[track_caller]
fn clean(answer: Answer) -> Answer {
    assert!(!leaks(&answer.text), "{}", answer.text);
    let headers = format!("{:?}", answer.headers);
    assert!(!headers.contains("_miroir"), "{headers}");
    answer
}

#[test]
fn numbers_of_shards_and_of_times_are_not_found() {
    let fixture = fixture();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let mut words: Vec<String> = (0..64).map(|shard| shard.to_string()).collect();
    words.extend(["1712", "17", "7", &now[..2], &now[..4], &now[..8], &now].map(str::to_owned));
    words.extend(["miroir", "_miroir_shard", "shard", "\u{2055}", "\u{2056}\u{2058}"].map(str::to_owned));
    let [cluster, reference] = fixture.both();
    for word in words {
        let body = json!({ "q": word, "hitsPerPage": 5, "showMatchesPosition": true });
        let mut ours = cluster.search("plain", &body).expect(200);
        // An answer repeats the query, whatever it names.
        ours.text = ours.text.replace(&json!(word).to_string(), "");
        let ours = clean(ours);
        let theirs = reference.search("plain", &body).expect(200);
        assert_eq!(ours.body["totalHits"], theirs.body["totalHits"], "query {word:?}: {}", ours.text);
        if word.chars().all(|c| c.is_ascii_digit()) {
            assert_eq!(ours.body["totalHits"], 0, "query {word:?} found something: {}", ours.text);
        }
    }
}

#[test]
fn settings_read_as_those_of_one_server() {
    let fixture = fixture();
    let read = |client: &Client, index: &str| clean(client.get(&format!("/indexes/{index}/settings")).expect(200)).body;
    let [cluster, reference] = fixture.both();
    assert_eq!(read(&cluster, "plain"), read(&reference, "plain"));
    let settings = json!({
        "filterableAttributes": ["tags", "title", { "attributePatterns": ["more*"], "features": { "facetSearch": true } }],
        "sortableAttributes": ["title"],
        "searchableAttributes": ["title", "tags"],
        "displayedAttributes": ["title"],
        "faceting": { "maxValuesPerFacet": 7 },
        "stopWords": ["the"],
    });
    for client in [&cluster, &reference] {
        client.create("set", "id");
        client.configure("set", &settings);
    }
    assert_eq!(read(&cluster, "set"), read(&reference, "set"));
    for name in
        ["filterable-attributes", "displayed-attributes", "searchable-attributes", "sortable-attributes", "faceting"]
    {
        let path = format!("/indexes/set/settings/{name}");
        assert_eq!(clean(cluster.get(&path).expect(200)).body, reference.get(&path).expect(200).body, "{name}");
    }
    for client in [&cluster, &reference] {
        client.done(&client.delete("/indexes/set/settings"));
    }
    assert_eq!(read(&cluster, "set"), read(&reference, "set"));
}

#[test]
fn documents_hits_facets_and_statistics_show_nothing() {
    let fixture = fixture();
    let [cluster, reference] = fixture.both();
    let stats = clean(cluster.get("/indexes/plain/stats").expect(200)).body;
    shape::assert_same("stats", &stats, &reference.get("/indexes/plain/stats").expect(200).body);
    clean(cluster.get("/stats").expect(200));

    for client in [&cluster, &reference] {
        client.create("faceted", "id");
        client.configure("faceted", &json!({ "filterableAttributes": ["*"] }));
        client.load("faceted", &documents());
    }
    let searches = [
        json!({ "q": "hello", "facets": ["*"], "limit": 3 }),
        json!({ "q": "hello", "attributesToHighlight": ["*"], "attributesToCrop": ["*"], "showMatchesPosition": true }),
        json!({ "q": "", "attributesToRetrieve": ["*"], "limit": 400 }),
        json!({ "q": "", "attributesToRetrieve": ["_miroir_shard", "title"] }),
        json!({ "q": "hello", "showRankingScoreDetails": true, "showRankingScore": true }),
    ];
    for body in &searches {
        for index in ["plain", "faceted"] {
            let ours = cluster.search(index, body);
            let theirs = reference.search(index, body);
            assert_eq!(ours.verdict(), theirs.verdict(), "{body}: {}", ours.text);
            assert_eq!(ours.body["facetDistribution"], theirs.body["facetDistribution"], "{body}");
            assert!(!leaks(&ours.text), "{body}: {}", ours.text);
        }
    }

    let all = shape::by_id(cluster.documents("plain"));
    assert_eq!(all, shape::by_id(reference.documents("plain")));
    clean(cluster.get("/indexes/plain/documents/doc-a").expect(200));
    clean(cluster.get("/indexes/plain/documents?limit=400").expect(200));
    clean(
        cluster
            .post("/indexes/plain/documents/fetch", &json!({ "limit": 400, "fields": ["_miroir_shard", "id"] }))
            .expect(200),
    );
}

#[test]
fn our_fields_cannot_be_filtered_sorted_or_faceted_by() {
    let [cluster, reference] = fixture().both();
    let searches = [
        json!({ "filter": "_miroir_shard = 7" }),
        json!({ "filter": "_miroir_shard EXISTS" }),
        json!({ "filter": [["_miroir_shard EXISTS"]] }),
        json!({ "sort": ["_miroir_shard:asc"] }),
        json!({ "facets": ["_miroir_shard"] }),
        json!({ "distinct": "_miroir_shard" }),
        json!({ "filter": "nothing = 1" }),
    ];
    for body in &searches {
        let ours = cluster.search("plain", body);
        assert_eq!(ours.verdict(), reference.search("plain", body).verdict(), "{body}: {}", ours.text);
        assert!(!ours.text.replace(&body.to_string(), "").contains("_miroir_updated_at"), "{}", ours.text);
    }
    let unknown = cluster.search("plain", &json!({ "filter": "nothing = 1" }));
    assert!(!leaks(&unknown.text), "the list of filterable attributes names ours: {}", unknown.text);
}

#[test]
fn documents_with_a_reserved_field_are_refused() {
    let cluster = fixture().cluster.client();
    for field in ["_miroir_shard", "_miroir_updated_at"] {
        let mut document = json!({ "id": "x", "title": "no" });
        document[field] = json!(3);
        for method in ["POST", "PUT"] {
            let answer = cluster.call(method, "/indexes/plain/documents", &json!([{ "id": "y" }, document]));
            assert_eq!(answer.verdict(), (400, "miroir_reserved_field".to_owned()), "{}", answer.text);
        }
    }
    for id in ["x", "y"] {
        assert_eq!(cluster.get(&format!("/indexes/plain/documents/{id}")).status, 404);
    }
    let nested = cluster.add("nested", &json!([{ "id": 1, "inner": { "_miroir_shard": 3 } }]));
    cluster.done(&nested);
}

#[test]
fn the_nodes_hold_only_the_clients_indexes() {
    let cluster = &fixture().cluster;
    let listed = |client: &Client| -> BTreeSet<String> {
        let page = client.get("/indexes?limit=1000").expect(200).body;
        let indexes = page["results"].as_array().cloned().unwrap_or_default();
        indexes.iter().map(|index| index["uid"].as_str().unwrap_or("?").to_owned()).collect()
    };
    // Other tests make indexes meanwhile, which nodes have before the cluster shows them.
    eventually("every node has the clients' indexes and nothing else", Duration::from_secs(30), || {
        let known = listed(&cluster.client());
        let nodes: Vec<BTreeSet<String>> =
            (0..cluster.nodes().len()).map(|node| listed(&cluster.node_client(node))).collect();
        (!known.is_empty() && nodes.iter().all(|node| *node == known)).then_some(())
    });
    clean(cluster.client().get("/indexes?limit=1000").expect(200));
    clean(cluster.client().get("/tasks?limit=100").expect(200));
}
