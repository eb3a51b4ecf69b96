//! Changes of settings that nodes spoil, reject, or miss.

use miroir_telemetry::Metrics;
use miroir_work::led::{LeadOptions, Leaders};
use tokio::sync::watch;

use super::*;
use crate::Broadcasting;

impl World {
    /// Changes of settings are led from now on; the leader stops when what this returns is dropped.
    fn led(&mut self) -> watch::Sender<bool> {
        let (stop, stopped) = watch::channel(false);
        let store = self.cluster.state.store.clone();
        let leaders = Leaders::new(store, LeadOptions::new("one".to_owned()), Arc::new(Metrics::default()));
        let leaders = leaders.with(Broadcasting::new(self.cluster.settings.clone()));
        self.background.push(tokio::spawn(async move { leaders.run(stopped).await }));
        stop
    }

    /// A change as a client asks for it.
    async fn configure(&self, index: &str, patch: Value) -> Result<Answer, Error> {
        let (uid, settings) = (uid(index), self.cluster.settings.clone());
        let change =
            move |writer: crate::Writer| async move { settings.update_settings(&writer, &uid, patch, true).await };
        self.cluster.writes.undertake((), change).await
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
