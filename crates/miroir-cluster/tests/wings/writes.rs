//! Writes whose nodes are silent, slow, or gone.

use std::time::Duration;

use miroir_node::testing::Condition;

use super::*;

const WRITING: &str = "
write: { node_timeout_ms: 2000 }
health: { unhealthy_threshold: 1000 }
";

fn is_write(method: &str, path: &str) -> bool {
    method == "POST" && path.contains("/documents")
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_silent_node_is_accepted_degraded_when_its_time_is_over() {
    let world = World::new(2, 2, WRITING).await;
    world.load("films", 10).await;
    world.nodes[1].is(Condition::Silent);
    let (accepted, took) = timed(world.send("films", json!([{ "id": "late", "v": 2 }]))).await;
    let accepted = accepted.expect("one replica is enough");
    assert!(accepted.degraded.header().is_some());
    assert_eq!(took, Duration::from_millis(2000));
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded);
    assert!(world.held[0].of("films").expect("there").contains_key("late"));
}
