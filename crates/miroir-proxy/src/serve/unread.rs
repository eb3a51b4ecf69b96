//! What is left of a request's body when its answer is ready: it is read and thrown away, so that the connection can go
//! on. A client that is told of a refusal before it has sent all would otherwise find its next request cut off.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

/// What is read of it at most, and for how long. Beyond that the connection is closed.
const BYTES: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);

/// Where a body is put by whoever reads no more of it.
#[derive(Clone, Default)]
pub struct Unread(Arc<Mutex<Option<Incoming>>>);

impl Unread {
    /// A body that comes back.
    pub fn lend(&self, body: Incoming) -> Lent {
        Lent { body: Some(body), owner: self.clone() }
    }

    /// Reads what is left. Whether that was all.
    pub async fn drained(&self) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = left else { return true };
        let rest = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.ok()?.data_ref().map_or(0, Bytes::len);
                if read > BYTES {
                    return None;
                }
            }
            Some(())
        };
        tokio::time::timeout(PATIENCE, rest).await.ok().flatten().is_some()
    }
}

/// A body that comes back to its owner with what is left of it.
pub struct Lent {
    body: Option<Incoming>,
    owner: Unread,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        if left.is_some() {
            *self.owner.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint)
    }
}
