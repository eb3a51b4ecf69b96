//! Several orchestrators on one Redis act as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_api::Peers;
use miroir_tests::replicas::{assert_alike, differences_become_known};
use miroir_tests::{Answer, AtLast, Client, Cluster, names, wait};

const BOUND: Duration = Duration::from_secs(60);

fn three() -> Cluster {
    Cluster::builder().instances(3).set("write.node_timeout_ms", json!(3000)).start()
}

fn clients(cluster: &Cluster) -> [Client; 3] {
    [0, 1, 2].map(|i| cluster.instance(i).client())
}

/// Waits through one instance for a task that another one gave.
#[track_caller]
fn done(client: &Client, accepted: &Answer) -> Value {
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    client.done(accepted)
}

#[test]
fn what_is_done_through_one_is_served_by_all_at_once() {
    let cluster = three();
    let [a, b, c] = clients(&cluster);
    for round in 0..20 {
        let uid = format!("movies-{round}");
        done(&c, &a.post("/indexes", &json!({ "uid": uid, "primaryKey": "id" })));
        b.get(&format!("/indexes/{uid}")).expect(200);
        done(&b, &c.add(&uid, &json!([{ "id": 1, "title": "Alien" }])));
        let found = a.search(&uid, &json!({ "q": "alien" })).expect(200);
        assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(1), "{}", found.text);
    }
    // An index that comes with its first documents, through whoever.
    done(&a, &b.add("fresh", &json!([{ "id": 1 }])));
    c.get("/indexes/fresh/documents/1").expect(200);

    for round in 0..20 {
        let made = [&a, &b, &c][round % 3];
        let key =
            made.post("/keys", &json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null })).expect(201);
        let value = key.body["key"].as_str().unwrap_or_default();
        for instance in [2, 1, 0] {
            let address = cluster.instance(instance).address();
            Client::new(&address, value).search("fresh", &json!({})).expect(200);
            let shown = cluster.instance(instance).client().get(&format!("/keys/{value}")).expect(200);
            assert_eq!(shown.body, key.body);
        }
        let total = |client: &Client| client.get("/keys").expect(200).body["total"].clone();
        assert_eq!([total(&a), total(&b)], [total(&c), total(&c)]);
        if round == 0 {
            b.delete(&format!("/keys/{value}")).expect(204);
            let own = Client::new(&cluster.instance(2).address(), value);
            wait::eventually("the key is gone for all", BOUND, || {
                (own.search("fresh", &json!({})).status == 403).then_some(())
            });
        }
    }

    done(&c, &b.patch("/indexes/fresh/settings", &json!({ "filterableAttributes": ["id"] })));
    let filterable = a.get("/indexes/fresh/settings/filterable-attributes").expect(200);
    assert_eq!(filterable.body, json!(["id"]));
    done(&a, &c.post("/swap-indexes", &json!([{ "indexes": ["fresh", "movies-0"] }])));
    wait::eventually("the swap is known to all", BOUND, || {
        let found = b.search("movies-0", &json!({ "filter": "id = 1" }));
        (found.status == 200).then_some(())
    });
    done(&b, &a.delete("/indexes/movies-0"));
    wait::eventually("the deletion is known to all", BOUND, || {
        (c.get("/indexes/movies-0").status == 404).then_some(())
    });
}

/// Keys of nobody, indexes that are not there, settings and keys: all from memory, without a queue.
#[test]
fn a_store_that_is_silent_holds_up_no_read_of_what_memory_knows() {
    let mut cluster = Cluster::builder().instances(2).start();
    let client = cluster.client();
    client.load("movies", &json!([{ "id": 1 }]));
    let nobody = Client::new(&cluster.address(), &"0".repeat(64));
    cluster.redis().pause();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| client.get("/indexes/movies/settings").expect(200));
            scope.spawn(|| client.get("/indexes/movies").expect(200));
            scope.spawn(|| client.get("/keys").expect(200));
            scope.spawn(|| client.search("movies", &json!({})).expect(200));
            scope.spawn(|| client.search("never-heard-of", &json!({})).expect(404));
            scope.spawn(|| nobody.search("movies", &json!({})).expect(403));
        }
    });
    let took = began.elapsed();
    cluster.redis().resume();
    assert!(took < Duration::from_secs(3), "sixty reads took {took:?}");
}

#[test]
fn instances_know_each_other_until_they_leave() {
    let mut cluster = three();
    let peers = |cluster: &Cluster| {
        let Peers { peers } = cluster.instance(0).admin().get("/_miroir/peers").expect(200).read();
        let addresses: BTreeSet<String> = peers.iter().map(|peer| peer.address.clone()).collect();
        assert_eq!(addresses.len(), peers.len(), "{peers:?}");
        assert_eq!(peers.iter().filter(|peer| peer.own).count(), 1, "{peers:?}");
        addresses.len()
    };
    wait::eventually("all three", BOUND, || (peers(&cluster) == 3).then_some(()));
    let metrics = |cluster: &Cluster| cluster.instance(0).metrics().get("/metrics").expect(200).text;
    wait::eventually("they are counted", BOUND, || metrics(&cluster).contains("miroir_peer_pod_count 3").then_some(()));

    let status = cluster.instance_mut(1).terminate(BOUND);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    wait::eventually("one has left", Duration::from_secs(10), || (peers(&cluster) == 2).then_some(()));
    cluster.instance_mut(2).kill();
    wait::eventually("one is gone", BOUND, || (peers(&cluster) == 1).then_some(()));

    // Whoever is left takes care of everything.
    let client = cluster.instance(0).client();
    client.load("alone", &json!([{ "id": 1 }]));
    let owned =
        |text: &str| text.lines().find(|line| line.starts_with("miroir_owned_shards_count ")).map(str::to_owned);
    wait::eventually("it owns all shards", BOUND, || {
        (owned(&metrics(&cluster)).as_deref() == Some("miroir_owned_shards_count 16")).then_some(())
    });
}

/// The ports of the instances that one knows, its own among them.
fn known(cluster: &Cluster, instance: usize) -> BTreeSet<u16> {
    let Peers { peers } = cluster.instance(instance).admin().get("/_miroir/peers").expect(200).read();
    peers.iter().filter_map(|peer| peer.address.rsplit(':').next()?.parse().ok()).collect()
}

#[test]
fn instances_are_found_by_dns_and_by_a_list_too() {
    let mut cluster = three();
    let ports: Vec<u16> = (0..3).map(|i| cluster.instance(i).port()).collect();
    let of = |which: &[usize]| -> BTreeSet<u16> { which.iter().map(|i| ports[*i]).collect() };
    wait::eventually("by the store", BOUND, || (known(&cluster, 0) == of(&[0, 1, 2])).then_some(()));

    // Only who is named counts, although the store knows all.
    let server = names::serve(vec![ports[0], ports[1]]);
    let dns = json!({ "mode": "dns_srv", "service_name": "_http._tcp.miroir.test.", "dns_server": server });
    cluster.set("peer_discovery", dns);
    cluster.instance_mut(0).restart();
    wait::eventually("by DNS", BOUND, || (known(&cluster, 0) == of(&[0, 1])).then_some(()));

    let address = |i: usize| format!("http://127.0.0.1:{}", ports[i]);
    cluster.set("peer_discovery", json!({ "mode": "static", "addresses": [address(0), address(2)] }));
    cluster.instance_mut(1).restart();
    wait::eventually("by a list", BOUND, || (known(&cluster, 1) == of(&[0, 1, 2])).then_some(()));
    cluster.instance_mut(2).kill();
    wait::eventually("who does not answer is gone", BOUND, || (known(&cluster, 1) == of(&[0, 1])).then_some(()));
}

/// Documents of each writer, which are written again and again.
const IDS: usize = 5;

/// What clients were told: task numbers, and the versions of the documents that go with them.
#[derive(Default)]
struct Told {
    tasks: Mutex<Vec<(u64, String, usize)>>,
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

/// Writes document after document, through each instance in turn, until told to stop. Connections may be refused or
/// reset; anything else but an acknowledgement is a fault.
fn write(clients: &[Client], writer: usize, told: &Told) {
    let mut last = None;
    for n in 0.. {
        if told.stop.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("w{writer}-{}", n % IDS);
        let body = json!([{ "id": id, "writer": writer, "version": n }]).to_string();
        let headers = [("content-type", "application/json")];
        let client = &clients[(writer + n) % clients.len()];
        match client.try_send("POST", "/indexes/ledger/documents", Some(body.as_bytes()), &headers) {
            Ok(answer) => {
                assert_eq!(answer.status, 202, "{}", answer.text);
                let Some(uid) = answer.body["taskUid"].as_u64() else { panic!("no task number: {}", answer.text) };
                assert!(last < Some(uid), "writer {writer}: task {uid} after {last:?}");
                last = Some(uid);
                told.tasks.lock().expect("no panic").push((uid, id, n));
                told.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(ureq::Error::Timeout(timeout)) => panic!("writer {writer} had to wait too long: {timeout}"),
            // A write whose answer was lost may be there or not.
            Err(_) => {}
        }
    }
}

/// Thirty clients write through all instances while `disturb` does its worst.
fn traffic(clients: &[Client], told: &Told, disturb: impl FnOnce()) {
    std::thread::scope(|scope| {
        let at_last = AtLast(&told.stop);
        let writers: Vec<_> = (0..30).map(|writer| scope.spawn(move || write(clients, writer, told))).collect();
        disturb();
        drop(at_last);
        for writer in writers {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn progress(told: &Told, by: usize) {
    let before = told.acknowledged.load(Ordering::Relaxed);
    wait::eventually("writes go on", BOUND, || {
        (told.acknowledged.load(Ordering::Relaxed) >= before + by).then_some(())
    });
}

#[track_caller]
fn assert_nothing_lost(cluster: &Cluster, through: usize, told: &Told) {
    let client = cluster.instance(through).client();
    let tasks = told.tasks.lock().expect("no panic");
    let numbers: BTreeSet<u64> = tasks.iter().map(|(uid, ..)| *uid).collect();
    assert_eq!(numbers.len(), tasks.len(), "a task number was given twice");
    client.all_ended(BOUND);
    let failed = client.get("/tasks?statuses=failed,canceled").expect(200);
    assert_eq!(failed.body["total"], 0, "{}", failed.text);
    let listed: Vec<String> =
        client.documents("ledger").iter().map(|d| d["id"].as_str().unwrap_or("?").to_owned()).collect();
    let unique: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), listed.len(), "a document is listed twice");
    differences_become_known(cluster, through, "ledger", BOUND);
    wait::eventually("everything is healed", BOUND, || cluster.stale(through).is_empty().then_some(()));
    let nodes: Vec<usize> = (0..cluster.nodes().len()).collect();
    let (found, _) = assert_alike(cluster, &nodes, "ledger", 2);
    for (uid, id, version) in tasks.iter() {
        let there = found.get(id).and_then(|document| document["version"].as_u64());
        assert!(there >= Some(*version as u64), "task {uid} is lost: {id} is {there:?}, and was {version}");
    }
}

#[test]
fn writes_go_on_while_one_instance_after_the_other_is_killed() {
    let mut cluster = three();
    let clients = clients(&cluster);
    clients[0].create("ledger", "id");
    let told = Told::default();
    traffic(&clients, &told, || {
        progress(&told, 100);
        for round in 0..10 {
            cluster.instance_mut(round % 3).kill();
            progress(&told, 20);
            cluster.instance_mut(round % 3).restart();
            progress(&told, 20);
        }
    });
    assert_nothing_lost(&cluster, 1, &told);
}

/// Every replica's documents, by shard and node, without the stamps, which differ by design when a write is repeated.
fn replicas(cluster: &Cluster, index: &str) -> Vec<BTreeMap<String, Value>> {
    let documents = |node: usize| {
        let documents = cluster.node_client(node).documents(index);
        documents.into_iter().map(|document| (document["id"].as_str().unwrap_or("?").to_owned(), document)).collect()
    };
    (0..cluster.nodes().len()).map(documents).collect()
}

#[test]
fn features_that_are_changed_through_different_instances_at_once_are_all_kept_and_shown_by_each() {
    let cluster = three();
    let clients = clients(&cluster);
    let features = ["containsFilter", "compositeEmbedders", "multimodal"];
    let taken = |on: bool| {
        std::thread::scope(|scope| {
            let changes = clients.iter().zip(features);
            let changes: Vec<_> = changes
                .map(|(client, name)| scope.spawn(move || client.patch("/experimental-features", &json!({ name: on }))))
                .collect();
            changes.into_iter().map(|change| change.join().expect("no panic").status).collect::<Vec<_>>()
        })
    };
    for on in [true, false, true, false, true] {
        assert_eq!(taken(on), [200, 200, 200]);
        for client in &clients {
            let shown = client.get("/experimental-features").expect(200).body;
            for name in features {
                assert_eq!(shown[name], json!(on), "{shown}");
            }
        }
    }
}

#[test]
fn concurrent_writes_of_the_same_documents_leave_all_replicas_equal() {
    let cluster = three();
    let clients = clients(&cluster);
    clients[0].create("contested", "id");
    std::thread::scope(|scope| {
        for writer in 0..12_usize {
            let client = &clients[writer % 3];
            scope.spawn(move || {
                for round in 0..15 {
                    let body: Value =
                        (0..8).map(|id| json!({ "id": format!("d{id}"), "by": writer * 100 + round })).collect();
                    client.add("contested", &body).expect(202);
                }
            });
        }
    });
    clients[0].all_ended(BOUND);
    let nodes = replicas(&cluster, "contested");
    let mut copies: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (id, document) in nodes.iter().flatten() {
        copies.entry(id).or_default().push(document);
    }
    assert_eq!(copies.len(), 8, "{copies:?}");
    for (id, copies) in copies {
        assert_eq!(copies.len(), 2, "{id} has two replicas");
        assert_eq!(copies[0], copies[1], "the replicas of {id} differ");
    }
}

#[test]
fn an_instance_that_slept_is_refused_and_then_takes_part_again() {
    let cluster = three();
    let clients = clients(&cluster);
    clients[0].create("ledger", "id");
    let told = Told::default();
    let awake = [clients[1].clone(), clients[2].clone()];
    // The sleeper holds the index write lock when it falls asleep.
    clients[0].add("ledger", &json!([{ "id": "before" }])).expect(202);
    cluster.instance(0).pause();
    traffic(&awake, &told, || progress(&told, 100));
    cluster.instance(0).resume();
    wait::eventually("it writes again", BOUND, || {
        let answer = clients[0].add("ledger", &json!([{ "id": "after" }]));
        assert!(matches!(answer.status, 202 | 503), "{}", answer.text);
        (answer.status == 202).then_some(())
    });
    assert_nothing_lost(&cluster, 0, &told);
    for id in ["before", "after"] {
        clients[2].get(&format!("/indexes/ledger/documents/{id}")).expect(200);
    }
}

#[test]
fn a_search_asks_the_store_nothing() {
    const SEARCHES: u64 = 300;
    let mut cluster = three();
    let [client, ..] = clients(&cluster);
    client.load("movies", &json!([{ "id": 1, "title": "Alien" }]));
    let before = cluster.redis().scripts_run();
    for _ in 0..SEARCHES {
        client.search("movies", &json!({ "q": "alien" })).expect(200);
    }
    // Besides, there are heartbeats and looks for tasks that are not finished.
    let scripts = cluster.redis().scripts_run() - before;
    assert!(scripts < SEARCHES / 2, "{scripts} scripts for {SEARCHES} searches");
}

#[test]
fn reads_go_on_without_the_store_and_writes_say_so() {
    let mut cluster = three();
    let clients = clients(&cluster);
    clients[0].load("movies", &json!([{ "id": 1, "title": "Alien" }, { "id": 2, "title": "Aliens" }]));
    clients[0].configure("movies", &json!({ "filterableAttributes": ["id"] }));
    let search = |client: &Client| {
        // A write that was refused may have reached the nodes.
        let found = client.search("movies", &json!({ "q": "alien", "filter": "id < 3" })).expect(200);
        assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(2), "{}", found.text);
        found.header("x-miroir-degraded").map(str::to_owned)
    };
    let refused = |client: &Client| {
        let begun = Instant::now();
        let answer = client.add("movies", &json!([{ "id": 3, "title": "Alien 3" }]));
        assert_eq!(answer.verdict(), (503, "miroir_store_unavailable".into()), "{}", answer.text);
        assert!(begun.elapsed() < Duration::from_secs(20), "the refusal took {:?}", begun.elapsed());
    };
    let recovers = |clients: &[Client]| {
        for client in clients {
            let accepted = wait::eventually("writes are taken again", BOUND, || {
                let answer = client.add("movies", &json!([{ "id": 3, "title": "Alien 3" }]));
                (answer.status == 202).then_some(answer)
            });
            client.done(&accepted);
        }
        for client in clients {
            client.delete("/indexes/movies/documents/3").expect(202);
        }
        wait::eventually("all is as before", BOUND, || (clients[0].count("movies") == 2).then_some(()));
    };

    cluster.redis().kill();
    for client in &clients {
        search(client);
        refused(client);
        search(client);
    }
    cluster.redis().restart();
    recovers(&clients);

    // Beyond the time after which peers count each other out.
    cluster.redis().pause();
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                wait::eventually("reads say that the others may have gone on without it", BOUND, || {
                    refused(client);
                    search(client).filter(|degraded| degraded.starts_with("isolated="))
                })
            });
        }
    });
    cluster.redis().resume();
    recovers(&clients);
    for client in &clients {
        wait::eventually("reads have nothing to say", BOUND, || search(client).is_none().then_some(()));
    }
}

#[test]
fn everything_is_remembered_when_all_were_gone() {
    let mut cluster = three();
    let [a, b, c] = clients(&cluster);
    done(&b, &a.post("/indexes", &json!({ "uid": "movies", "primaryKey": "id" })));
    done(&a, &b.patch("/indexes/movies/settings", &json!({ "synonyms": { "alien": ["xenomorph"] } })));
    done(&a, &c.add("movies", &json!([{ "id": 1, "title": "A xenomorph" }])));
    let key = c.post("/keys", &json!({ "actions": ["*"], "indexes": ["movies"], "expiresAt": null })).expect(201);
    let hook = json!({ "url": "http://127.0.0.1:9/hook" });
    a.post("/webhooks", &hook).expect(201);
    b.patch("/experimental-features", &json!({ "containsFilter": true })).expect(200);
    let paths = ["/indexes", "/indexes/movies/settings", "/tasks", "/webhooks", "/experimental-features"];
    let before: Vec<Value> = paths.iter().map(|path| a.get(path).expect(200).body).collect();
    for i in 0..3 {
        cluster.instance_mut(i).kill();
    }
    cluster.redis().restart();
    for i in 0..3 {
        cluster.instance_mut(i).start();
    }
    cluster.wait_ready();
    for client in [&a, &b, &c] {
        let after: Vec<Value> = paths.iter().map(|path| client.get(path).expect(200).body).collect();
        assert_eq!(after, before);
        let value = key.body["key"].as_str().unwrap_or_default();
        let own = Client::new(client.base(), value);
        assert_eq!(own.search("movies", &json!({ "q": "alien" })).expect(200).body["estimatedTotalHits"], 1);
    }
    assert_eq!(done(&a, &b.add("movies", &json!([{ "id": 2 }])))["uid"], 3);
}
