//! Tasks: durable, in order, told apart.

use serde_json::{Value, json};

use crate::server::{Answer, Server};

fn number(write: &Answer) -> u64 {
    assert_eq!(write.status, 202, "{}", write.body);
    write.body["taskUid"].as_u64().unwrap()
}

#[test]
fn a_write_is_answered_with_its_task() {
    let server = Server::start();
    let write = server.post("/indexes/a/documents", &json!([{"id": 1}]));
    assert_eq!(write.body["status"], "enqueued");
    assert_eq!(write.body["type"], "documentAdditionOrUpdate");
    assert_eq!(write.body["indexUid"], "a");
    let task = server.done(write);
    for member in ["enqueuedAt", "startedAt", "finishedAt", "duration"] {
        assert!(task[member].is_string(), "{member}: {task}");
    }
    assert_eq!((&task["error"], &task["canceledBy"]), (&Value::Null, &Value::Null));
    assert!(task["duration"].as_str().unwrap().starts_with("PT"));
}

#[test]
fn tasks_are_applied_in_order() {
    let server = Server::start();
    let mut last = None;
    for value in 0..40 {
        let document = json!([{"id": 1, "value": value}]);
        last = Some(match value % 4 {
            3 => {
                server.delete("/indexes/a/documents/1").ok();
                server.post("/indexes/a/documents", &document)
            }
            2 => server.put("/indexes/a/documents", &document),
            _ => server.post("/indexes/a/documents", &document),
        });
    }
    server.done(last.unwrap());
    assert_eq!(server.get("/indexes/a/documents/1").ok(), json!({"id": 1, "value": 39}));
    let tasks = server.get("/tasks?limit=100&reverse=true").ok();
    let tasks = tasks["results"].as_array().unwrap();
    let finished: Vec<&str> = tasks.iter().map(|task| task["finishedAt"].as_str().unwrap()).collect();
    assert_eq!(tasks.len(), 50);
    assert!(finished.is_sorted());
}

#[test]
fn a_bad_task_does_not_fail_its_neighbours() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 0}]));
    let batches = [
        json!([{"id": 1}]),
        json!([{"id": 2}, {"id": "not an id"}]),
        json!([{"id": 3}]),
        json!([{"id": 4}, {"no": "id"}]),
        json!([{"id": 5}]),
    ];
    let writes = batches.map(|batch| server.post("/indexes/a/documents", &batch));
    let statuses = writes.map(|write| server.settled(write)["status"].as_str().unwrap().to_owned());
    assert_eq!(statuses, ["succeeded", "failed", "succeeded", "failed", "succeeded"]);
    assert_eq!(server.get("/indexes/a/stats").ok()["numberOfDocuments"], 4);
}

#[test]
fn tasks_are_listed_by_number_status_type_and_index() {
    let server = Server::start();
    let first = number(&server.post("/indexes/a/documents", &json!([{"id": 1}])));
    let second = number(&server.post("/indexes/b/documents", &json!([{"id": 1}])));
    server.failed(server.delete("/indexes/none"));
    let list = |query: &str| {
        let page = server.get(&format!("/tasks?{query}")).ok();
        let uids: Vec<u64> =
            page["results"].as_array().unwrap().iter().map(|task| task["uid"].as_u64().unwrap()).collect();
        (uids, page)
    };
    assert_eq!(list(&format!("uids={first},{second},999")).0, [second, first]);
    assert_eq!(list(&format!("uids={first},{second}&reverse=true")).0, [first, second]);
    assert_eq!(list("statuses=failed").0.len(), 1);
    assert_eq!(list("statuses=succeeded&indexUids=a").0, [first]);
    assert_eq!(list("types=indexDeletion").0.len(), 1);
    assert_eq!(list("statuses=enqueued,processing").0, Vec::<u64>::new());
    let (uids, page) = list("limit=2");
    assert_eq!((uids.len(), &page["total"], &page["limit"]), (2, &json!(3), &json!(2)));
    assert_eq!(page["from"], uids[0]);
    assert_eq!(list(&format!("limit=2&from={}", page["next"])).0, [first]);
}

#[test]
fn unknown_tasks_and_wrong_filters_are_refused() {
    let server = Server::start();
    assert_eq!(server.get("/tasks/12345").error(), (404, "task_not_found"));
    assert_eq!(server.get("/tasks?uids=a").error(), (400, "invalid_task_uids"));
    assert_eq!(server.get("/tasks?statuses=nope").error(), (400, "invalid_task_statuses"));
    assert_eq!(server.get("/tasks?types=nope").error(), (400, "invalid_task_types"));
    assert_eq!(server.get("/tasks?limit=x").error(), (400, "invalid_task_limit"));
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    let mut server = Server::start_process();
    server.index("a", &json!({"filterableAttributes": ["round"]}), &json!([{"id": "first", "round": 0}]));
    for round in 1..=3_u64 {
        let writes: Vec<u64> = (0..20)
            .map(|batch| {
                let documents: Value = (0..20)
                    .map(|document| json!({"id": format!("{round}-{batch}-{document}"), "round": round}))
                    .collect();
                number(&server.post("/indexes/a/documents", &documents))
            })
            .collect();
        server.kill_and_restart();
        let last = json!([{"id": format!("after-{round}")}]);
        server.done(server.post("/indexes/a/documents", &last));
        let uids: Vec<String> = writes.iter().map(u64::to_string).collect();
        let page = server.get(&format!("/tasks?limit=100&uids={}", uids.join(","))).ok();
        let tasks = page["results"].as_array().unwrap();
        assert_eq!(tasks.len(), 20);
        assert!(tasks.iter().all(|task| task["status"] == "succeeded"), "{page}");
        let answer = server.search("a", &json!({"filter": format!("round = {round}"), "hitsPerPage": 1}));
        assert_eq!(answer["totalHits"], 400);
    }
}

#[test]
fn a_waiting_task_is_canceled_and_one_that_ended_is_not() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 0}]));
    let ended = number(&server.post("/indexes/a/documents", &json!([{"id": 1}])));
    server.done(server.post("/indexes/a/documents", &json!([{"id": 2}])));
    let documents: Value =
        (0..3000).map(|i| json!({"id": i, "text": format!("some words {i} and {} more", i * 7919)})).collect();
    let slow = server.post("/indexes/a/documents", &documents);
    let settings = number(&server.patch("/indexes/a/settings", &json!({"stopWords": ["and"]})));
    let waiting = number(&server.delete("/indexes/a/documents"));
    let cancel = server.post(&format!("/tasks/cancel?uids={waiting},{ended}"), &Value::Null);
    assert_eq!((cancel.status, &cancel.body["type"]), (200, &json!("taskCancelation")), "{}", cancel.body);
    server.done(slow);
    let task = |uid: u64| server.get(&format!("/tasks/{uid}")).ok();
    let by = &cancel.body["taskUid"];
    assert_eq!((&task(waiting)["status"], &task(waiting)["canceledBy"]), (&json!("canceled"), by));
    assert_eq!(task(waiting)["details"]["deletedDocuments"], 0);
    assert_eq!(task(ended)["status"], "succeeded");
    let done = task(by.as_u64().unwrap());
    assert_eq!(
        done["details"],
        json!({"matchedTasks": 2, "canceledTasks": 1, "originalFilter": format!("?uids={waiting},{ended}")})
    );
    assert_eq!(server.get("/tasks?statuses=canceled").ok()["total"], 1);
    assert_ne!(task(settings)["status"], "canceled");
    assert_eq!(server.post("/tasks/cancel", &Value::Null).status, 400);
}

#[test]
fn features_are_remembered() {
    let server = Server::start();
    assert_eq!(server.get("/experimental-features").ok()["containsFilter"], false);
    let changed = server.patch("/experimental-features", &json!({"containsFilter": true, "metrics": null})).ok();
    assert_eq!((&changed["containsFilter"], &changed["metrics"]), (&json!(true), &json!(false)));
    assert_eq!(server.get("/experimental-features").ok(), changed);
    assert_eq!(server.patch("/experimental-features", &json!({"nonsense": true})).status, 400);
}
