//! Tasks: whole numbers that rise, filters, pages and details as on one server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Twin};

/// The same history on both: two indexes, documents, settings, deletions, one failure.
fn history(twin: &Twin, a: &str, b: &str) {
    twin.create(a);
    twin.create(b);
    twin.load(a, &(0..10).map(|i| json!({ "id": i })).collect());
    twin.configure(a, &json!({ "filterableAttributes": ["n"], "stopWords": ["the"] }));
    twin.same_task("delete one", |client| client.delete(&format!("/indexes/{a}/documents/3")));
    twin.same_task("bad id", |client| client.add(b, &json!([{ "id": "not an id" }])));
    twin.same_task("delete all", |client| client.delete(&format!("/indexes/{a}/documents")));
    twin.same_task("delete the index", |client| client.delete(&format!("/indexes/{b}")));
}

/// What a listed task is about, whatever its number.
fn gist(answer: &Answer) -> Vec<String> {
    let tasks = answer.body["results"].as_array().cloned().unwrap_or_default();
    let part =
        |task: &Value| format!("{} {} {} {}", task["indexUid"], task["type"], task["status"], task["error"]["code"]);
    tasks.iter().map(part).collect()
}

#[test]
fn listing_filters_by_index_status_and_type() {
    let twin = Twin::shared();
    history(twin, "la", "lb");
    let queries = [
        "indexUids=la",
        "indexUids=la,lb",
        "indexUids=lb&statuses=failed",
        "indexUids=la&types=documentAdditionOrUpdate",
        "indexUids=la,lb&types=indexCreation,settingsUpdate",
        "indexUids=la&statuses=succeeded&limit=2",
        "indexUids=la,lb&reverse=true",
        "indexUids=la,lb&reverse=true&limit=3",
        "indexUids=*&limit=0",
        "indexUids=never-made",
        "indexUids=la&statuses=SUCCEEDED",
        "indexUids=la&statuses=enqueued,processing",
    ];
    // Development nodes do not know these: judged by what must come out.
    let client = &twin.clients()[0];
    let total = |query: &str| client.get(&format!("/tasks?indexUids=la{query}")).body["total"].as_u64();
    let all = total("");
    assert!(all.is_some_and(|all| all > 0));
    assert_eq!(total("&canceledBy=5"), Some(0));
    assert_eq!(total("&afterEnqueuedAt=2100-01-01"), Some(0));
    assert_eq!(total("&beforeEnqueuedAt=2100-01-01T00:00:00Z"), all);
    assert_eq!(total("&afterFinishedAt=2000-01-01"), all);
    for query in queries {
        let [ours, theirs] = twin.clients().map(|client| client.get(&format!("/tasks?{query}")));
        assert_eq!(ours.verdict(), theirs.verdict(), "{query}: {}", ours.text);
        assert_eq!(gist(&ours), gist(&theirs), "{query}");
        if !query.contains('*') {
            assert_eq!(ours.body["total"], theirs.body["total"], "{query}");
        }
        assert_eq!(ours.body["limit"], theirs.body["limit"], "{query}");
        assert_eq!(ours.body["next"].is_null(), theirs.body["next"].is_null(), "{query}: {}", ours.text);
    }
}

#[test]
fn pages_follow_one_another_without_gap_or_overlap() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.create("paged", "id");
    for i in 0..12 {
        client.add("paged", &json!([{ "id": i }])).expect(202);
    }
    let uids = |answer: &Answer| -> Vec<u64> {
        answer.body["results"].as_array().into_iter().flatten().filter_map(|task| task["uid"].as_u64()).collect()
    };
    let whole = uids(&client.get("/tasks?indexUids=paged&limit=100").expect(200));
    assert_eq!(whole.len(), 13);
    assert!(whole.is_sorted_by(|a, b| a > b), "{whole:?}");
    let mut pieces = Vec::new();
    let mut from = String::new();
    loop {
        let page = client.get(&format!("/tasks?indexUids=paged&limit=5{from}")).expect(200);
        pieces.extend(uids(&page));
        match page.body["next"].as_u64() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
        assert!(pieces.len() < 100);
    }
    assert_eq!(pieces, whole);
}

#[test]
fn numbers_are_unique_and_rise_under_concurrency() {
    let client = Twin::shared().cluster.client();
    client.create("rising", "id");
    let given: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let client = &client;
                scope.spawn(move || {
                    let write = |i| {
                        client.add("rising", &json!([{ "id": writer * 100 + i }])).expect(202).body["taskUid"].as_u64()
                    };
                    (0..10).filter_map(write).collect::<Vec<u64>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for numbers in &given {
        assert!(numbers.len() == 10 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
    let unique: BTreeSet<u64> = given.iter().flatten().copied().collect();
    assert_eq!(unique.len(), 60);
    for uid in unique {
        assert_eq!(client.task(uid)["status"], "succeeded");
    }
    assert_eq!(client.count("rising"), 60);
}

#[test]
fn times_and_durations_are_those_of_a_finished_task() {
    let client = Twin::shared().cluster.client();
    client.create("timed", "id");
    let task = client.done(&client.add("timed", &json!([{ "id": 1 }])));
    let time = |field: &str| task[field].as_str().unwrap_or_default().to_owned();
    let times = [time("enqueuedAt"), time("startedAt"), time("finishedAt")];
    assert!(times.iter().all(|time| time.ends_with('Z') && time.contains('T')), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
    assert!(time("duration").starts_with("PT"), "{task}");
}

#[test]
fn operators_see_the_node_tasks_behind_a_task() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.create("behind", "id");
    let accepted = client.add("behind", &(0..100).map(|i| json!({ "id": i })).collect()).expect(202);
    let task = client.done(&accepted);
    assert!(task.get("nodeTasks").is_none(), "{task}");
    let uid = accepted.body["taskUid"].as_u64().unwrap_or_default();
    for name in [uid.to_string(), format!("mtask-{uid:05}")] {
        let view = twin.cluster.admin().get(&format!("/_miroir/tasks/{name}")).expect(200);
        assert_eq!(view.body["uid"], uid);
        assert_eq!(view.body["nodeTasks"].as_array().map(Vec::len), Some(3), "{}", view.text);
    }
}

#[test]
fn tasks_are_shown_alike() {
    let twin = Twin::shared();
    twin.same("no task", |client: &Client| client.get("/tasks/4000000000"));
    history(twin, "sa", "sb");
    for query in ["indexUids=sa,sb&limit=100", "indexUids=sb&statuses=failed"] {
        twin.same(query, |client| client.get(&format!("/tasks?{query}")));
    }
}
