//! Free ports on 127.0.0.1.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::rng::Rng;

static TAKEN: Mutex<Option<(Rng, HashSet<u16>)>> = Mutex::new(None);

/// A port that nothing listens on and that this process has not handed out before. It lies below the range from which
/// the kernel takes the ports of outgoing connections, so that none of those can sit on it before the server starts.
///
/// # Panics
/// When a thousand tries find none.
pub fn free() -> u16 {
    let mut guard = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (rng, taken) = guard.get_or_insert_with(|| {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.subsec_nanos());
        (Rng::new(u64::from(std::process::id()) << 32 | u64::from(nanos)), HashSet::new())
    });
    for _ in 0..1000 {
        let port = 16_000 + rng.below(16_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && taken.insert(port) {
            return port;
        }
    }
    panic!("no free port between 16000 and 32000");
}
