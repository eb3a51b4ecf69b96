//! The body of an answer, sent in slices; what a request holds is given back once all of it has been sent.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::places::Watch;

/// Bytes handed on at one time: what has not been sent is then still the body's.
const SLICE: usize = 64 * 1024;

/// What a request holds on to until its answer has been sent. Handlers and layers put theirs into the extensions of their
/// response by [`Held::by`].
#[derive(Clone, Default)]
pub struct Held(Vec<Arc<dyn Any + Send + Sync>>);

impl Held {
    /// `response` holds this, too.
    pub fn by(response: &mut axum::response::Response, held: impl Any + Send + Sync) {
        response.extensions_mut().get_or_insert_default::<Self>().0.push(Arc::new(held));
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A body in slices.
pub struct Sliced {
    body: Body,
    rest: Bytes,
    // Dropped with the body.
    _sending: Sending,
}

/// Tells the connection when the whole answer has been handed on.
struct Sending {
    held: Held,
    watch: Arc<Watch>,
}

impl Sliced {
    pub fn new(body: Body, held: Held, watch: Arc<Watch>) -> Self {
        Self { body, rest: Bytes::new(), _sending: Sending { held, watch } }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.watch.answered(std::mem::take(&mut self.held));
    }
}

impl hyper::body::Body for Sliced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let slice = this.rest.split_to(this.rest.len().min(SLICE));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}
