//! Being asked to stop.

use tokio::sync::watch;

/// Ends when the instance stops. A sender that is gone is as good as its word.
pub(crate) async fn asked(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
