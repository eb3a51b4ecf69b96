//! A store whose work takes no time. The threads that do it are none of the runtime's, which would take them for idle and
//! advance a paused clock.

use std::sync::{Arc, mpsc};

use miroir_store::{SqliteStore, Store};

use crate::observed::{Observed, Observer};

/// An empty store.
pub async fn in_memory() -> Arc<dyn Store> {
    let call = StandsStill.begins();
    let store = SqliteStore::open(":memory:").await.expect("a store");
    drop(call);
    Arc::new(Observed { store, observer: StandsStill })
}

/// A paused clock stands still while a blocking task of the runtime's own is under way: one for as long as each call.
struct StandsStill;

impl Observer for StandsStill {
    fn begins(&self) -> Box<dyn Send> {
        let (ends, ended) = mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || ended.recv()));
        Box::new(ends)
    }
}
