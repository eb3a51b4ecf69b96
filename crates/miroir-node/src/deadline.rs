//! The time that a client's request has, known to whatever is done for it.
//!
//! Invariant: a call to a node that is made for a request ends before the request does, however many of them are made one
//! after the other and whatever each is given by itself: [`Node::call`] asks here. What outlives its request is spawned,
//! and has no part in it.
//!
//! [`Node::call`]: crate::Node::call

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use miroir_core::base::id::NodeId;
use miroir_core::read::patience;

/// What the parts of one request share.
struct Request {
    /// What is left until the client is answered in any case.
    left: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Of that, what is not for waiting.
    kept: Duration,
    /// Nodes that have failed it: they are asked nothing more by it.
    given_up: Mutex<BTreeSet<NodeId>>,
}

tokio::task_local! {
    static REQUEST: Request;
}

/// Does a request whose client is answered within `limit`, of which so much is `left`.
pub async fn within<T>(
    limit: Duration,
    left: impl Fn() -> Duration + Send + Sync + 'static,
    request: impl Future<Output = T>,
) -> T {
    let kept = limit.saturating_sub(patience::inside(limit));
    let known = Request { left: Box::new(left), kept, given_up: Mutex::default() };
    REQUEST.scope(known, request).await
}

/// What is left for whatever the request waits for; none: this is done for no request.
pub fn left() -> Option<Duration> {
    REQUEST.try_with(|request| (request.left)().saturating_sub(request.kept)).ok()
}

/// A node is asked nothing more by this request.
pub fn give_up(node: &NodeId) {
    let add = |request: &Request| {
        request.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone());
    };
    // What is done for no request asks again when it comes to it.
    let _ = REQUEST.try_with(add);
}

/// The nodes that have failed this request.
pub fn given_up() -> BTreeSet<NodeId> {
    let known = |request: &Request| request.given_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
    REQUEST.try_with(known).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_for_a_request_knows_what_is_left_and_what_is_spawned_does_not() {
        assert_eq!(left(), None);
        let limit = Duration::from_secs(10);
        let seen = within(limit, || Duration::from_secs(4), async {
            give_up(&NodeId::new("a"));
            let spawned = tokio::spawn(async { (left(), given_up().len()) }).await;
            (left(), given_up().len(), spawned.expect("done"))
        });
        assert_eq!(seen.await, (Some(Duration::from_millis(3500)), 1, (None, 0)));
        assert_eq!(within(limit, || Duration::ZERO, async { left() }).await, Some(Duration::ZERO));
    }
}
