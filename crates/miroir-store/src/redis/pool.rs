//! The connections: no more than allowed, each used by one call at a time.
//!
//! Invariant: every call ends within its bound, and a connection whose call did not end well is never used again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::RedisOptions;
use super::failure::{Failure, failure};
use crate::StoreError;

/// The ways to Redis.
pub(super) struct Pool {
    client: Client,
    /// Host and port, for messages: the URL may hold a password.
    address: String,
    call_timeout: Duration,
    connect_timeout: Duration,
    max: u32,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
    closed: AtomicBool,
}

/// A connection, and whether it is known to be broken.
struct Link {
    connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
}

impl Pool {
    /// Connects to nothing yet.
    pub(super) fn new(url: &str, options: &RedisOptions) -> Result<Self, StoreError> {
        let wrong = Failure::Url("the URL");
        let info = url.into_connection_info().map_err(|_| wrong.clone())?;
        // Connections of RESP3 say at once when they are lost.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings);
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => return Err(wrong.into()),
        };
        let client = Client::open(info).map_err(|_| wrong)?;
        let max = u32::try_from(options.max_connections.max(1)).unwrap_or(u32::MAX);
        Ok(Self {
            client,
            address,
            call_timeout: options.call_timeout,
            connect_timeout: options.connect_timeout,
            max,
            permits: Semaphore::new(max as usize),
            idle: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        })
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The bound of every call.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Send a command and wait for the answer.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let slow = || Failure::Slow { address: self.address.clone(), within: self.call_timeout };
        timeout(self.call_timeout, self.send(command)).await.map_err(|_| slow())?
    }

    /// As [`Pool::call`], for what may be asked twice: a connection that was lost meanwhile is replaced.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        match self.call(command).await {
            Err(error) if matches!(super::failure::of(&error), Some(Failure::Lost { .. })) => self.call(command).await,
            answered => answered,
        }
    }

    async fn send(&self, command: &Cmd) -> Result<Value, StoreError> {
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut link = match self.take() {
            Some(link) => link,
            None => self.link().await?,
        };
        let answer = command.query_async::<Value>(&mut link.connection).await;
        match answer {
            Ok(value) => {
                self.put(link);
                Ok(value)
            }
            Err(error) => {
                // A server that said no is still there.
                if error.code().is_some() {
                    self.put(link);
                }
                Err(failure(&self.address, &error))
            }
        }
    }

    async fn link(&self) -> Result<Link, StoreError> {
        let broken = Arc::new(AtomicBool::new(false));
        let mark = broken.clone();
        let connection = self
            .connect(move |info: PushInfo| {
                if info.kind == redis::PushKind::Disconnection {
                    mark.store(true, Ordering::Release);
                }
            })
            .await?;
        Ok(Link { connection, broken })
    }

    /// A connection beside the pool's own, which hands on what the server sends unasked.
    pub(super) async fn connect(
        &self,
        pushed: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.call_timeout))
            .set_push_sender(move |info: PushInfo| {
                pushed(info);
                Ok::<(), redis::aio::SendError>(())
            });
        let unreachable = |problem: String| Failure::Unreachable { address: self.address.clone(), problem };
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match failure(&self.address, &error) {
                lost if matches!(super::failure::of(&lost), Some(Failure::Lost { .. })) => {
                    Err(unreachable(error.to_string()).into())
                }
                other => Err(other),
            },
            Err(_) => Err(unreachable(format!("no answer within {:?}", self.connect_timeout)).into()),
        }
    }

    fn take(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(link) = idle.pop() {
            if !link.broken.load(Ordering::Acquire) {
                return Some(link);
            }
        }
        None
    }

    fn put(&self, link: Link) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Refuse new calls, wait for those under way, and close the connections.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Fails only when somebody has closed already.
        let _ = self.permits.acquire_many(self.max).await;
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
