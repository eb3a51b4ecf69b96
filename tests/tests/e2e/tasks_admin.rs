//! Tasks are listed, canceled and forgotten; batches; notes of clients.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Twin, binaries, eventually};

fn client() -> Client {
    Twin::shared().cluster.client()
}

fn post(client: &Client, path: &str) -> Answer {
    client.send("POST", path, None, &[])
}

fn number(answer: &Answer) -> u64 {
    answer.body["taskUid"].as_u64().unwrap_or_else(|| panic!("no task: {}", answer.text))
}

/// Enough to keep a node busy while the next requests come in.
fn heavy(seed: u64) -> Value {
    let text = |i: u64| (0..40).map(|j| format!("w{} ", (i * 7919 + j * 104_729 + seed) % 50_021)).collect::<String>();
    (0..3000).map(|i| json!({ "id": i, "text": text(i) })).collect()
}

#[test]
fn parameters_that_cannot_be_read_are_refused_in_meilisearchs_words() {
    let twin = Twin::shared();
    let client = client();
    let number = "could not parse `x` as a positive integer";
    let date = "`x` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.";
    let cases = [
        ("uids=1,x", "invalid_task_uids", format!("Invalid value in parameter `uids[1]`: {number}")),
        ("batchUids=x", "invalid_batch_uids", format!("Invalid value in parameter `batchUids`: {number}")),
        ("canceledBy=x", "invalid_task_canceled_by", format!("Invalid value in parameter `canceledBy`: {number}")),
        ("statuses=x", "invalid_task_statuses", "Invalid value in parameter `statuses`: `x` is not a valid task status. Available statuses are `enqueued`, `processing`, `succeeded`, `failed`, `canceled`.".into()),
        ("beforeStartedAt=x", "invalid_task_before_started_at", format!("Invalid value in parameter `beforeStartedAt`: {date}")),
        ("afterFinishedAt=x", "invalid_task_after_finished_at", format!("Invalid value in parameter `afterFinishedAt`: {date}")),
    ];
    for (query, code, message) in &cases {
        let requests = [
            ("GET", format!("/tasks?{query}")),
            ("GET", format!("/batches?{query}")),
            ("POST", format!("/tasks/cancel?{query}")),
            ("DELETE", format!("/tasks?{query}")),
        ];
        for (method, path) in requests {
            let answer = client.send(method, &path, None, &[]);
            let expected = (400, *code, Some(message.as_str()));
            assert_eq!((answer.status, answer.code(), answer.body["message"].as_str()), expected, "{method} {path}");
            if binaries::meilisearch().is_some() {
                let theirs = twin.reference.client().send(method, &path, None, &[]);
                assert_eq!(theirs.body, answer.body, "{method} {path}");
            }
        }
    }
    let page = ["limit=x", "limit=-1", "from=x", "reverse=1", "x=1"];
    let single = ["/tasks/x", "/tasks/4294967296", "/tasks/99999999", "/batches/x", "/batches/99999999"];
    let paths = page.iter().map(|query| format!("/tasks?{query}")).chain(single.map(str::to_owned));
    for path in paths {
        let answer = client.get(&path);
        assert!(matches!(answer.status, 400 | 404) && !answer.code().is_empty(), "{path}: {}", answer.text);
        if binaries::meilisearch().is_some() {
            assert_eq!(twin.reference.client().get(&path).body, answer.body, "{path}");
        }
    }
    for (method, path) in [("POST", "/tasks/cancel"), ("DELETE", "/tasks")] {
        let answer = client.send(method, path, None, &[]);
        assert_eq!(answer.verdict(), (400, "missing_task_filters".to_owned()), "{method} {path}");
        let answer = client.send(method, &format!("{path}?limit=1"), None, &[]);
        assert_eq!(answer.verdict(), (400, "bad_request".to_owned()), "{method} {path}");
    }
    for (method, path) in [("PUT", "/tasks"), ("GET", "/tasks/cancel"), ("POST", "/batches"), ("DELETE", "/tasks/1")] {
        let answer = client.send(method, path, None, &[]);
        assert!(matches!(answer.status, 400 | 405), "{method} {path}: {}", answer.status);
    }
}

#[test]
fn a_cancelation_cancels_what_waits_and_leaves_what_ended() {
    let client = client();
    client.create("ca", "id");
    let ended = number(&client.add("ca", &json!([{ "id": 1 }])));
    client.task(ended);
    // A quick machine may be done before the cancelation comes.
    for attempt in 0..10 {
        client.add("ca", &heavy(attempt)).expect(202);
        let waiting: Vec<u64> = (0..3).map(|i| number(&client.add("ca", &json!([{ "id": 9000 + i }])))).collect();
        let list = waiting.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let filter = format!("?uids={list},{ended}");
        let summary = post(&client, &format!("/tasks/cancel{filter}")).expect(200);
        assert_eq!((&summary.body["type"], &summary.body["indexUid"]), (&json!("taskCancelation"), &Value::Null));
        let cancelation = client.done(&summary);
        let by = number(&summary);
        let tasks: Vec<Value> = waiting.iter().map(|uid| client.task(*uid)).collect();
        let canceled: Vec<&Value> = tasks.iter().filter(|task| task["status"] == "canceled").collect();
        let details = json!({ "matchedTasks": 4, "canceledTasks": canceled.len(), "originalFilter": filter });
        assert_eq!(cancelation["details"], details);
        for task in &canceled {
            assert_eq!((&task["canceledBy"], &task["error"]), (&json!(by), &Value::Null), "{task}");
            assert_eq!(task["details"], json!({ "receivedDocuments": 1, "indexedDocuments": 0 }));
            assert!(task["finishedAt"].is_string(), "{task}");
        }
        let found = client.get(&format!("/tasks?canceledBy={by}")).expect(200);
        assert_eq!(found.body["total"], canceled.len());
        assert_eq!(client.task(ended)["status"], "succeeded");
        for (uid, task) in waiting.iter().zip(&tasks) {
            let id = 9000 + uid - waiting[0];
            if task["status"] == "canceled" {
                assert_eq!(client.get(&format!("/indexes/ca/documents/{id}")).status, 404);
            }
        }
        if !canceled.is_empty() {
            return;
        }
        client.done(&client.post("/indexes/ca/documents/delete-batch", &json!([9000, 9001, 9002])));
    }
    panic!("ten cancelations in a row came too late");
}

#[test]
fn a_cancelation_without_anything_to_do_ends_at_once() {
    let client = client();
    client.create("cn", "id");
    let before = client.get("/tasks?indexUids=cn").body["total"].clone();
    let task = client.done(&post(&client, "/tasks/cancel?indexUids=cn&statuses=enqueued,processing,succeeded"));
    let filter = "?indexUids=cn&statuses=enqueued,processing,succeeded";
    assert_eq!(task["details"], json!({ "matchedTasks": before, "canceledTasks": 0, "originalFilter": filter }));
}

#[test]
fn finished_tasks_are_forgotten_and_others_stay() {
    let client = client();
    client.create("fo", "id");
    client.create("fo-other", "id");
    for i in 0..5 {
        client.load("fo", &json!([{ "id": i }]));
    }
    let total = |index: &str| client.get(&format!("/tasks?indexUids={index}")).body["total"].as_u64();
    assert_eq!((total("fo"), total("fo-other")), (Some(6), Some(1)));
    let summary = client.delete("/tasks?indexUids=fo&types=documentAdditionOrUpdate").expect(200);
    let task = client.done(&summary);
    let filter = "?indexUids=fo&types=documentAdditionOrUpdate";
    assert_eq!(task["details"], json!({ "matchedTasks": 5, "deletedTasks": 5, "originalFilter": filter }));
    assert_eq!((total("fo"), total("fo-other")), (Some(1), Some(1)));
    assert_eq!(client.count("fo"), 5);
    // A task that has not ended stays.
    client.add("fo", &heavy(1)).expect(202);
    let last = number(&client.add("fo", &json!([{ "id": 77 }])));
    client.done(&client.delete(&format!("/tasks?uids={last}")));
    let answer = client.get(&format!("/tasks/{last}"));
    if answer.status == 200 {
        assert_eq!(client.task(last)["status"], "succeeded");
    } else {
        // It had ended already.
        assert_eq!(answer.code(), "task_not_found");
    }
    eventually("the document", Duration::from_secs(60), || {
        (client.get("/indexes/fo/documents/77").status == 200).then_some(())
    });
}

#[test]
fn every_task_is_a_batch_of_its_number() {
    let client = client();
    client.create("ba", "id");
    let task = client.done(&client.add("ba", &json!([{ "id": 1 }, { "id": 2 }])));
    let uid = &task["uid"];
    assert_eq!(&task["batchUid"], uid);
    let batch = client.get(&format!("/batches/{uid}")).expect(200).body;
    assert_eq!((&batch["uid"], &batch["progress"]), (uid, &Value::Null));
    assert_eq!(batch["details"], json!({ "receivedDocuments": 2, "indexedDocuments": 2 }));
    let stats = json!({ "totalNbTasks": 1, "status": { "succeeded": 1 }, "types": { "documentAdditionOrUpdate": 1 }, "indexUids": { "ba": 1 } });
    assert_eq!(batch["stats"], stats);
    assert_eq!(batch["batchStrategy"], "batched all enqueued tasks");
    for field in ["duration", "startedAt", "finishedAt"] {
        assert_eq!(batch[field], task[field], "{field}");
    }
    let page = client.get("/batches?indexUids=ba&limit=1").expect(200).body;
    assert_eq!((&page["total"], &page["from"], &page["results"][0]), (&json!(2), uid, &batch));
    assert!(page["next"].is_u64());
    let names = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    if binaries::meilisearch().is_some() {
        let reference = Twin::shared().reference.client();
        reference.create("ba", "id");
        let task = reference.done(&reference.add("ba", &json!([{ "id": 1 }])));
        let theirs = reference.get(&format!("/batches/{}", task["batchUid"])).expect(200).body;
        assert_eq!(names(&batch), names(&theirs));
        assert!(names(&batch["stats"]).iter().all(|name| theirs["stats"].get(name).is_some()), "{theirs}");
    }
}

#[test]
fn a_clients_note_is_kept_with_the_task() {
    let client = client();
    client.create("no", "id");
    let writes = [
        client.post("/indexes/no/documents?customMetadata=a%20note", &json!([{ "id": 1 }])),
        client.put("/indexes/no/documents?customMetadata=a%20note", &json!([{ "id": 2 }])),
        client.delete("/indexes/no/documents/1?customMetadata=a%20note"),
        client.post("/indexes/no/documents/delete-batch?customMetadata=a%20note", &json!([5])),
        client.delete("/indexes/no/documents?customMetadata=a%20note"),
        client.post("/indexes/none/documents/delete-batch?customMetadata=a%20note", &json!([5])),
    ];
    for write in writes {
        assert_eq!(write.body["customMetadata"], "a note", "{}", write.text);
        assert_eq!(client.ended(&write)["customMetadata"], "a note");
    }
    let without = client.add("no", &json!([{ "id": 1 }]));
    assert!(without.body.get("customMetadata").is_none() && client.done(&without).get("customMetadata").is_none());
    let unknown = client.delete("/indexes/no/documents?x=1");
    assert_eq!(unknown.verdict(), (400, "bad_request".to_owned()));
}

#[test]
fn skip_creation_only_changes_what_is_there() {
    let client = client();
    client.create("sk", "id");
    client.load("sk", &json!([{ "id": 1, "a": 1 }]));
    let body = json!([{ "id": 1, "b": 2 }, { "id": 2, "b": 2 }]);
    if binaries::meilisearch().is_some() {
        client.done(&client.put("/indexes/sk/documents?skipCreation=true", &body));
        assert_eq!(client.documents("sk"), [json!({ "id": 1, "a": 1, "b": 2 })]);
    }
    let invalid = client.put("/indexes/sk/documents?skipCreation=maybe", &body);
    assert_eq!(invalid.verdict(), (400, "invalid_skip_creation".to_owned()));
}
