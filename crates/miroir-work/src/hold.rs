//! Holding on to a lease.
//!
//! Invariant: whoever holds a lease believes so for no longer than the store does. The time is counted from before each
//! request, so that neither a slow store nor a process that was stopped in between makes it last longer.

use std::time::Duration;

use miroir_store::{Lease, Store};
use tokio::time::{Instant, sleep, timeout_at};

/// Renews the lease, and ends when it is lost: somebody has taken over, or it could not be renewed in time.
///
/// `since` is a moment before the lease was asked for. Poll this before what the lease is needed for.
pub(crate) async fn hold(store: &dyn Store, lease: &Lease, ttl: Duration, every: Duration, since: Instant) {
    let mut held_until = since + ttl;
    loop {
        let renewal = async {
            sleep(every).await;
            let asked = Instant::now();
            (asked, store.renew(lease, ttl).await)
        };
        match timeout_at(held_until, renewal).await {
            Ok((asked, Ok(true))) => held_until = asked + ttl,
            Ok((_, Ok(false))) => {
                tracing::warn!(scope = %lease.scope, "the lease was taken over by somebody else");
                return;
            }
            Ok((_, Err(error))) => {
                tracing::warn!(scope = %lease.scope, %error, "a lease could not be renewed; trying again");
            }
            Err(_) => {
                tracing::warn!(scope = %lease.scope, "a lease was not renewed in time");
                return;
            }
        }
    }
}
