//! The body of a request while it arrives: counted against the budget on every route, and cut when it pauses or dribbles.
//!
//! Invariant: the time that a body takes to arrive is not the request's. It has bounds of its own, so that a large upload
//! over a slow line is taken, and one that nobody means to finish is not.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};

use miroir_cluster as cluster;
use miroir_node::budget::{Budget, Reserved, Spent};

/// How slowly a body may arrive.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest pause, and for how long it may be slow at first.
    pub pause: Duration,
    /// Bytes a second; 0: any.
    pub rate: u64,
}

/// What a request's body holds of the budget, until the request is done or somebody takes it over.
#[derive(Clone)]
pub struct Charge(Arc<Mutex<Reserved>>);

impl Charge {
    /// Of a body of which nothing has come yet.
    pub fn new(budget: &Budget) -> Self {
        Self(Arc::new(Mutex::new(budget.reserve())))
    }

    fn held(&self) -> MutexGuard<'_, Reserved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it over: whoever has it holds what has come so far.
    pub fn take(&self) -> Reserved {
        self.held().take()
    }
}

/// When a request has to be done. Clones are of the same request.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<Times>>);

struct Times {
    /// As far as is known: later by every wait for the client.
    deadline: Instant,
    /// Since when the client is waited for.
    waits: Option<Instant>,
}

impl Clock {
    /// From now on, so long.
    pub fn start(limit: Duration) -> Self {
        Self(Arc::new(Mutex::new(Times { deadline: Instant::now() + limit, waits: None })))
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits_for_client(&self) {
        let mut times = self.times();
        times.waits.get_or_insert_with(Instant::now);
    }

    fn touch_client(&self) {
        let mut times = self.times();
        if let Some(since) = times.waits.take() {
            times.deadline += since.elapsed();
        }
    }

    /// What is left.
    pub fn left(&self) -> Duration {
        self.until().saturating_duration_since(Instant::now())
    }

    fn until(&self) -> Instant {
        let times = self.times();
        let waited = times.waits.map_or(Duration::ZERO, |since| since.elapsed());
        times.deadline + waited
    }

    /// Resolves when the time is over.
    pub async fn runs_out(&self) {
        loop {
            let until = self.until();
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Why a body did not arrive.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Spent(#[from] Spent),
    #[error("the body pauses or arrives too slowly")]
    Slow,
}

/// What it means for the request that its body did not arrive. Layers may have wrapped what is wrong.
pub fn failure(error: axum::Error) -> cluster::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(known) = cause {
        match known.downcast_ref::<Broken>() {
            Some(Broken::Spent(spent)) => return (*spent).into(),
            Some(Broken::Slow) => return cluster::Error::SlowBody,
            None => cause = known.source(),
        }
    }
    cluster::Error::Body(error.to_string())
}

/// A body as it arrives.
struct Arriving {
    body: Body,
    charge: Charge,
    clock: Clock,
    pace: Pace,
    received: u64,
    /// For how long it was waited for, and since when it is.
    waited: Duration,
    waits: Option<Instant>,
    /// Until something has to have come.
    alarm: Pin<Box<Sleep>>,
}

/// The same body, counted and watched.
pub fn watched(body: Body, charge: Charge, clock: Clock, pace: Pace) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let alarm = Box::pin(tokio::time::sleep(pace.pause));
    let (received, waited, waits) = (0, Duration::ZERO, None);
    Body::new(Arriving { body, charge, clock, pace, received, waited, waits, alarm })
}

impl Arriving {
    /// How long it may be waited for from now on.
    fn patience(&self) -> Duration {
        match self.pace.rate {
            0 => self.pace.pause,
            rate => {
                let granted = self.pace.pause + Duration::from_secs_f64(self.received as f64 / rate as f64);
                self.pace.pause.min(granted.saturating_sub(self.waited))
            }
        }
    }

    fn begins_to_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waits.is_none() {
            let now = Instant::now();
            self.waits = Some(now);
            let until = now + self.patience();
            self.alarm.as_mut().reset(until);
            self.clock.waits_for_client();
        }
        self.alarm.as_mut().poll(cx)
    }

    fn waits_no_more(&mut self) {
        if let Some(since) = self.waits.take() {
            self.waited += since.elapsed();
            self.clock.touch_client();
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        let broken = |broken: Broken| Poll::Ready(Some(Err(Box::from(broken))));
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waits_no_more();
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.received += bytes;
                let charged = this.charge.held().grow(bytes);
                charged.map_or_else(|spent| broken(spent.into()), |()| Poll::Ready(Some(Ok(frame))))
            }
            Poll::Ready(end) => {
                this.waits_no_more();
                Poll::Ready(end.map(|end| end.map_err(Into::into)))
            }
            Poll::Pending if this.begins_to_wait(cx).is_ready() => {
                this.waits_no_more();
                broken(Broken::Slow)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
