//! Reads whose nodes fail, are silent, or are slow.

use std::time::Duration;

use http::StatusCode;
use miroir_node::testing::Condition;

use super::*;

/// Two replicas of everything, and a silent node stays in use for as long as a test lasts.
const RETRYING: &str = "
scatter: { node_timeout_ms: 500, retry_on_timeout: true }
replica_selection: { strategy: round_robin }
health: { unhealthy_threshold: 1000 }
";

/// Six searches unlike those of another round, so that other replicas are preferred.
fn six(round: usize) -> Bytes {
    let query = |i: usize| json!({ "indexUid": "films", "q": "", "filter": format!("v != {}", round * 6 + i + 1000) });
    json!({ "queries": (0..6).map(query).collect::<Vec<_>>() }).to_string().into()
}

/// The searches of a round, made by a client who sees everything.
async fn multi_search(world: &World, round: usize) -> Result<Answer, Error> {
    let everything = |_: &IndexUid| Ok(None);
    world.cluster.reads.multi_search(six(round), &everything, Wants::default(), Floor::default()).await
}

fn total(answer: &Answer) -> u64 {
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    body["estimatedTotalHits"].as_u64().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_costs_its_time_and_another_replica_answers() {
    let world = World::new(3, 2, RETRYING).await;
    world.load("films", 40).await;
    world.nodes[1].is(Condition::Silent);
    let mut waited = 0;
    for _ in 0..6 {
        let (answer, took) = timed(world.search("films")).await;
        let answer = answer.expect("whole");
        assert_eq!((total(&answer), answer.degraded.header()), (40, None));
        assert!(took < Duration::from_millis(1000), "{took:?}");
        waited += usize::from(took >= Duration::from_millis(100));
    }
    assert!(waited > 0, "the silent node was never asked");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_is_given_up_where_time_outs_are_not_retried() {
    let world = World::new(3, 2, &RETRYING.replace("retry_on_timeout: true", "retry_on_timeout: false")).await;
    world.load("films", 40).await;
    world.nodes[1].is(Condition::Silent);
    let mut named = 0;
    for _ in 0..3 {
        let answer = world.search("films").await.expect("what there is");
        let header = answer.degraded.header();
        assert_eq!(header.is_some(), total(&answer) < 40, "{header:?}");
        named += usize::from(header.is_some_and(|header| header.starts_with("shards=")));
    }
    // Two of three nodes answer each search, and every node has its turn.
    assert!(named > 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_or_refuses_is_stepped_in_for_at_once() {
    let world = World::new(3, 2, RETRYING).await;
    world.load("films", 40).await;
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        world.nodes[1].refuses(status, |_, path| path.ends_with("search"));
        for _ in 0..3 {
            let (answer, took) = timed(world.search("films")).await;
            assert_eq!((total(&answer.expect("whole")), took), (40, Duration::ZERO), "{status}");
        }
        world.nodes[1].recovers();
    }
    world.nodes[1].is(Condition::Gone);
    for _ in 0..3 {
        let (answer, took) = timed(world.search("films")).await;
        assert_eq!((total(&answer.expect("whole")), took), (40, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_nodes_are_all_silent_says_so_in_time() {
    let policy = "unavailable_shard_policy: error";
    let world = World::new(2, 2, &RETRYING.replace("scatter: { ", &format!("scatter: {{ {policy}, "))).await;
    world.load("films", 10).await;
    world.nodes.iter().for_each(|node| node.is(Condition::Silent));
    let (answer, took) = timed(world.search("films")).await;
    assert!(answer.is_err());
    assert!(took <= Duration::from_millis(1100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_multi_search_fails_over_within_the_time_of_one_search() {
    let world = World::new(2, 2, RETRYING).await;
    world.load("films", 20).await;
    world.nodes[0].is(Condition::Silent);
    let mut waited = 0;
    for round in 0..4 {
        let (answer, took) = timed(multi_search(&world, round)).await;
        let answer = answer.expect("whole");
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let totals =
            body["results"].as_array().expect("a list").iter().map(|result| result["estimatedTotalHits"].as_u64());
        assert_eq!((totals.sum::<Option<u64>>(), answer.degraded.header()), (Some(6 * 20), None));
        assert!(took <= Duration::from_millis(500), "{took:?}");
        waited += usize::from(!took.is_zero());
    }
    assert!(waited > 0, "the silent node was never asked");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_slow_in_multi_searches_loses_them() {
    let world = World::new(2, 2, "").await;
    world.load("films", 20).await;
    world.nodes[0].delays(Duration::from_millis(150), |_, path| path == "/multi-search");
    world.nodes[1].delays(Duration::from_millis(5), |_, path| path == "/multi-search");
    for round in 0..60 {
        multi_search(&world, round).await.expect("whole");
    }
    let asked = |node: usize| world.nodes[node].asked().iter().filter(|asked| *asked == "POST /multi-search").count();
    let (slow, other) = (asked(0), asked(1));
    assert!(slow < 20 && other > 40, "the slow one was asked {slow} times, the other one {other} times");
}
