//! Writes whose nodes are silent, slow, or gone, and whose clients are.

use std::time::Duration;

use http::StatusCode;
use miroir_core::base::id::NodeId;
use miroir_node::testing::Condition;

use super::*;

/// A silent node stays in use for as long as a test lasts.
const WRITING: &str = "
write: { node_timeout_ms: 2000 }
health: { unhealthy_threshold: 1000 }
";
/// As [`WRITING`] says.
const TIMEOUT: Duration = Duration::from_secs(2);

fn is_write(method: &str, path: &str) -> bool {
    method == "POST" && path.contains("/documents")
}

fn version(v: u64) -> Value {
    json!([{ "id": "one", "v": v }])
}

impl World {
    /// Which nodes have stale replicas.
    fn stale(&self) -> Vec<String> {
        let mut nodes: Vec<String> =
            self.cluster.state.stale_replicas().iter().map(|replica| replica.node.to_string()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// What each node holds of the document.
    fn versions(&self, index: &str) -> Vec<Option<u64>> {
        self.held.iter().map(|held| held.of(index)?.get("one")?["v"].as_u64()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_silent_node_is_accepted_degraded_when_its_time_is_over() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].is(Condition::Silent);
    let (accepted, took) = timed(world.send("films", version(1))).await;
    let accepted = accepted.expect("one replica is enough");
    assert!(accepted.degraded.header().is_some_and(|header| header.contains("shards=")));
    assert_eq!((took, world.stale()), (TIMEOUT, vec!["node-1".to_owned()]));
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded);
    assert_eq!(world.versions("films")[0], Some(1));
}

#[tokio::test(start_paused = true)]
async fn writes_that_queue_behind_a_silent_node_are_all_accepted() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].is(Condition::Silent);
    let (accepted, took) =
        timed(futures_util::future::join_all((1..=6).map(|v| world.send("films", version(v))))).await;
    for accepted in accepted {
        let accepted = accepted.expect("one replica is enough");
        assert!(accepted.degraded.header().is_some());
    }
    assert_eq!(world.stale(), ["node-1"]);
    assert!(took <= TIMEOUT * 6, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_found_failed_ends_the_calls_to_it() {
    let world = World::new(2, 2, "health: { unhealthy_threshold: 1 }").await;
    world.load("films", 10).await;
    world.nodes[1].is(Condition::Silent);
    let node = world.cluster.state.node(&NodeId::new("node-1")).expect("a member");
    let failing = async {
        sleep(Duration::from_millis(250)).await;
        node.health.check_failed("the test says so");
    };
    let ((accepted, took), ()) = tokio::join!(timed(world.send("films", version(1))), failing);
    assert!(accepted.expect("one replica is enough").degraded.header().is_some());
    assert_eq!((took, world.stale()), (Duration::from_millis(250), vec!["node-1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_costs_a_write_no_time() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].is(Condition::Gone);
    let (accepted, took) = timed(world.send("films", version(1))).await;
    assert!(accepted.expect("one replica is enough").degraded.header().is_some());
    assert_eq!((took, world.stale()), (Duration::ZERO, vec!["node-1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_write_outlives_its_client_and_does_not_come_after_the_next_one() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].delays(Duration::from_millis(1500), is_write);
    let left = timeout(Duration::from_millis(700), world.send("films", version(1))).await;
    assert!(left.is_err(), "the client was to hang up first");
    let next = world.send("films", version(2)).await.expect("accepted");
    assert_eq!(next.degraded.header(), None);
    assert_eq!(world.ended(&next).await.status, TaskStatus::Succeeded);
    assert_eq!((world.versions("films"), world.stale()), (vec![Some(2), Some(2)], Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_stale_until_nothing_can_arrive_any_more() {
    for status in [408, 429, 500, 502, 503, 504, 404, 301] {
        let world = World::new(2, 2, WRITING).await;
        world.load("films", 10).await;
        world.nodes[1].masks(StatusCode::from_u16(status).expect("a status"), is_write);
        let accepted = world.send("films", version(1)).await.expect("one replica is enough");
        assert!(accepted.degraded.header().is_some(), "{status}");
        let stale = world.cluster.state.stale_replicas();
        assert_eq!((stale.len(), world.stale()), (1, vec!["node-1".to_owned()]), "{status}: {stale:?}");
        assert!(stale[0].quiet_at.is_some(), "{status}: it may arrive yet");
    }
    // An answer that is lost is no other case.
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].hangs_up(is_write);
    world.send("films", version(1)).await.expect("one replica is enough");
    assert_eq!((world.versions("films")[1], world.stale()), (Some(1), vec!["node-1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_replica_takes_is_refused_and_leaves_none_behind_the_others() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes.iter().for_each(|node| node.is(Condition::Gone));
    let refused = world.send("films", version(1)).await;
    assert!(matches!(refused, Err(Error::NoQuorum { .. })), "{:?}", refused.err());
    assert_eq!((world.versions("films"), world.stale()), (vec![None, None], Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_when_the_last_of_its_node_tasks_has() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    for (node, seconds) in [(0, 5), (1, 40)] {
        world.held[node].takes(Duration::from_secs(seconds));
    }
    let accepted = world.send("films", version(1)).await.expect("accepted");
    let (task, took) = timed(world.ended(&accepted)).await;
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert!((40..45).contains(&took.as_secs()), "{took:?}");
}
