//! Changes of settings that nodes spoil, reject, or miss.

use miroir_core::base::id::NodeId;
use miroir_node::Node;
use miroir_node::testing::Condition;
use miroir_telemetry::Metrics;
use miroir_work::led::{LeadOptions, Leaders};
use tokio::sync::watch;

use super::*;
use crate::Broadcasting;
use crate::settings::broadcast::repair::Repaired;

impl World {
    /// Changes of settings are led from now on; the leader stops when what this returns is dropped.
    pub(super) fn led(&mut self) -> watch::Sender<bool> {
        let (stop, stopped) = watch::channel(false);
        let store = self.cluster.state.store.clone();
        let leaders = Leaders::new(store, LeadOptions::new("one".to_owned()), Arc::new(Metrics::default()));
        let leaders = leaders.with(Broadcasting::new(self.cluster.settings.clone()));
        self.background.push(tokio::spawn(async move { leaders.run(stopped).await }));
        stop
    }

    /// A change as a client asks for it.
    pub(super) async fn configure(&self, index: &str, patch: Value) -> Result<Answer, Error> {
        let (uid, settings) = (uid(index), self.cluster.settings.clone());
        let change =
            move |writer: crate::Writer| async move { settings.update_settings(&writer, &uid, patch, true).await };
        self.cluster.writes.undertake((), change).await
    }

    /// A change of stop words that was accepted after a node was found to be gone; and that node.
    async fn configured_without_node_1(&self) -> (Arc<Node>, Answer) {
        let node = self.cluster.state.node(&NodeId::new("node-1")).expect("a member");
        self.nodes[1].is(Condition::Gone);
        node.health.check_failed("the test says so");
        let accepted = self.configure("films", json!({ "stopWords": ["the"] })).await;
        (node, accepted.expect("accepted"))
    }

    /// What each node has of a setting.
    fn settings(&self, index: &str, name: &str) -> Vec<Option<Value>> {
        self.held.iter().map(|held| held.setting(index, name)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_made_on_every_node_and_then_has_a_version() {
    let mut world = World::new(3, 2, "").await;
    let _led = world.led();
    world.load("films", 10).await;
    let words = json!(["the"]);
    let accepted = world.configure("films", json!({ "stopWords": words })).await.expect("accepted");
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded);
    assert_eq!(world.settings("films", "stopWords"), vec![Some(words); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_spoils_a_change_is_told_again() {
    let mut world = World::new(3, 2, "").await;
    let _led = world.led();
    world.load("films", 10).await;
    world.held[1].forgets(Some("stopWords"));
    let told = |world: &World| {
        let is_change = |asked: &&String| asked.starts_with("PATCH") && asked.ends_with("/settings");
        world.nodes[1].asked().iter().filter(is_change).count()
    };
    let before = told(&world);
    let accepted = world.configure("films", json!({ "stopWords": ["the"] })).await.expect("accepted");
    until("it is told again", async || (told(&world) > before + 1).then_some(())).await;
    world.held[1].forgets(None);
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded);
    assert_eq!(world.settings("films", "stopWords"), vec![Some(json!(["the"])); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_is_left_behind_and_not_waited_for() {
    let mut world = World::new(3, 2, "health: { unhealthy_threshold: 1 }").await;
    let _led = world.led();
    world.load("films", 10).await;
    let (_, accepted) = world.configured_without_node_1().await;
    let (task, took) = timed(world.ended(&accepted)).await;
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert!(took < Duration::from_secs(10), "{took:?}");
    let index = world.cluster.state.index(&uid("films")).expect("there");
    assert_eq!(index.lagging.keys().collect::<Vec<_>>(), [&NodeId::new("node-1")]);
    // Its replicas are not read: its rules are not those of the others.
    let before = world.nodes[1].asked().len();
    world.nodes[1].recovers();
    let answer = world.search("films").await.expect("whole");
    assert_eq!((answer.degraded.header(), world.nodes[1].asked().len()), (None, before));
}

#[tokio::test(start_paused = true)]
async fn a_repair_is_waited_for_within_the_request_of_whoever_asked_for_it() {
    let mut world = World::new(3, 2, "health: { unhealthy_threshold: 1, recovery_threshold: 1 }").await;
    let _led = world.led();
    world.load("films", 10).await;
    let (node, accepted) = world.configured_without_node_1().await;
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Succeeded);
    world.nodes[1].recovers();
    node.health.check_passed(false);
    node.health.examined(node.health.returned().expect("it answers again"), false);
    let index = world.cluster.state.index(&uid("films")).expect("there");
    world.held[1].takes(Duration::from_secs(100));
    let (repaired, took) = timed(world.cluster.settings.repair_settings(&index)).await;
    assert_eq!(repaired.expect("asked").into_values().collect::<Vec<_>>(), [Repaired::UnderWay]);
    assert_eq!(took, world.cluster.state.config.server.request_timeout.mul_f32(0.8));
    world.held[1].takes(Duration::ZERO);
    until("the node has done what it was told", async || world.held[1].is_idle().then_some(())).await;
    let repaired = world.cluster.settings.repair_settings(&index).await.expect("asked");
    assert_eq!(repaired.into_values().collect::<Vec<_>>(), [Repaired::Done]);
    assert_eq!(world.settings("films", "stopWords"), vec![Some(json!(["the"])); 3]);
}

#[tokio::test(start_paused = true)]
async fn what_one_node_rejects_no_node_keeps() {
    let mut world = World::new(3, 2, "").await;
    let _led = world.led();
    world.load("films", 10).await;
    world.held[1].rejects(Some("stopWords"));
    let accepted = world.configure("films", json!({ "stopWords": ["the"] })).await.expect("accepted");
    assert_eq!(world.ended(&accepted).await.status, TaskStatus::Failed);
    let none = |found: &Option<Value>| found.as_ref().is_none_or(|found| *found == json!([]));
    until("it is taken back", async || world.settings("films", "stopWords").iter().all(none).then_some(())).await;
}
