//! Passes of anti-entropy, by the schedule or when they are called for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use miroir_cluster::{Cluster, PassCursor};

/// Between two looks for a pass to be made.
const LOOK: Duration = Duration::from_secs(1);

/// Make every pass that is begun from now on, for ever.
pub async fn compare_replicas(cluster: Arc<Cluster>) {
    if !cluster.state.config.anti_entropy.enabled {
        return;
    }
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cursor = PassCursor::default();
    // A pass that was begun before this instance was is one that others make, or that a restart has ended.
    let mut made = None;
    loop {
        ticks.tick().await;
        match made {
            None => match cluster.replicas.last_pass().await {
                Ok(last) => made = Some(last.map_or(0, |pass| pass.number)),
                Err(error) => tracing::debug!(%error, "whether replicas are to be compared cannot be read"),
            },
            Some(number) => match cluster.replicas.current_pass().await {
                Ok(Some(pass)) if pass.number > number => {
                    cluster.replicas.make_pass(&pass, &mut cursor).await;
                    made = Some(pass.number);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "whether replicas are to be compared cannot be read"),
            },
        }
    }
}
