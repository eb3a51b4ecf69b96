//! Leases: who alone may do something, for how long, and the tokens that keep everybody else from believing so.
//!
//! Invariant: tokens rise, so that of two who believe to hold a scope the store knows the later. A token is its holder's
//! alone: a store that has lost its last second may give the number again, but never lets one holder pass for another.
//! Time is the store's: the clocks of instances do not matter.

use std::time::Duration;

/// The right to act alone in a scope. It ends when it is not renewed in time.
#[derive(Clone, Debug)]
pub struct Lease {
    /// What it is about, as in `settings_broadcast:movies`.
    pub scope: String,
    /// Who holds it.
    pub holder: String,
    /// Higher than any token given before it.
    pub token: u64,
    /// How long ago the one before it ended that nobody gave back: whoever held it may have ended in the midst of its work.
    /// None: that was given back, or there was none.
    pub lapsed: Option<Duration>,
}

/// How it was come by does not tell one from another.
impl PartialEq for Lease {
    fn eq(&self, other: &Self) -> bool {
        (&self.scope, &self.holder, self.token) == (&other.scope, &other.holder, other.token)
    }
}

impl Eq for Lease {}

impl Lease {
    /// What writes have to show, so that they are refused once somebody else has taken over.
    pub fn fence(&self) -> Fence {
        Fence { scope: self.scope.clone(), holder: self.holder.clone(), token: self.token }
    }
}

/// A condition on a batch: this holder has the scope by this token, and it was given to nobody else since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease's scope.
    pub scope: String,
    /// The lease's holder.
    pub holder: String,
    /// The lease's token.
    pub token: u64,
}

/// A lease that has not ended, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The lease.
    pub lease: Lease,
    /// When it ends, unless it is renewed.
    pub ends_in: Duration,
}
