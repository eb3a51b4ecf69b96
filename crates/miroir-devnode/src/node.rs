//! One running node: its data, its writer thread, its server.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::http::{self, App};
use crate::task::queue::Queue;
use crate::task::worker::{Worker, payload_dir};

/// Stack of the threads that search: the engine recurses into filters and queries.
const STACK_BYTES: usize = 8 << 20;

/// Threads of one node that may block at the same time.
const BLOCKING_THREADS: usize = 32;

/// How long requests in hand may take when a node stops.
const GRACE: Duration = Duration::from_secs(5);

/// How to run a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Where it keeps its data; created when missing. At most one node may use a directory at a time.
    pub data_dir: PathBuf,
    /// Where it listens; port 0 takes any free port.
    pub bind: SocketAddr,
    /// The key that every request but `/health` must carry; none leaves the node open.
    pub master_key: Option<String>,
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot open the data in {}", path.display())]
    Data {
        /// The data directory.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Threads cannot be started.
    #[error("cannot start the node's threads")]
    Threads(#[source] std::io::Error),
}

/// A running node. Dropping it stops it without waiting for requests in hand; whatever was acknowledged stays.
pub struct Node {
    address: SocketAddr,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
    queue: Arc<Queue>,
    worker: JoinHandle<()>,
    engine: Arc<Engine>,
}

impl Node {
    /// Starts a node. When this returns, it accepts connections; tasks it had not finished are being applied.
    ///
    /// # Errors
    /// When it cannot listen, read its data, or start its threads.
    pub fn start(options: NodeOptions) -> Result<Self, StartError> {
        let listener = TcpListener::bind(options.bind)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| StartError::Bind { address: options.bind, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Bind { address: options.bind, source })?;
        let (engine, queue) = open(&options)
            .map_err(|source| StartError::Data { path: options.data_dir.clone(), source: Box::new(source) })?;
        let payloads = payload_dir(&options.data_dir);
        let app = App::new(engine.clone(), queue.clone(), payloads.clone(), options.master_key);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name(format!("node-{}", address.port()))
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let router = http::router(Arc::new(app));
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(|source| StartError::Bind { address, source })?
        };
        let server = runtime.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async {
                // An error means that the handle is gone, which is just as good a reason to stop.
                let _ = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the server ended");
            }
        });
        let worker = Worker { engine: engine.clone(), queue: queue.clone(), payloads };
        let worker = std::thread::Builder::new()
            .name(format!("writer-{}", address.port()))
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())
            .map_err(StartError::Threads)?;
        let running = Running { runtime, stop, server, queue, worker, engine };
        Ok(Self { address, running: Some(running) })
    }

    /// Where the node listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting requests, finishes those in hand and the tasks being applied, and closes the data, so that the
    /// directory can be opened again. Blocks; not to be called inside an async task.
    pub fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.queue.stop();
        // Dropping a runtime waits, which an async caller must not; this does not.
        running.runtime.shutdown_background();
    }
}

impl Running {
    fn stop(self) {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        let server = self.server;
        let ended = self.runtime.block_on(async { tokio::time::timeout(GRACE, server).await });
        if ended.is_err() {
            tracing::warn!("requests were still running when the node stopped");
        }
        self.queue.stop();
        self.runtime.shutdown_timeout(GRACE);
        if self.worker.join().is_err() {
            tracing::error!("the writer had crashed");
        }
        drop(self.queue);
        match Arc::try_unwrap(self.engine) {
            Ok(engine) => engine.close(),
            // A request outlived its grace and still reads; the data closes when it ends.
            Err(engine) => drop(engine),
        }
    }
}

/// Opens the data directory and removes payloads that no task needs any more.
fn open(options: &NodeOptions) -> Result<(Arc<Engine>, Arc<Queue>), ApiError> {
    let payloads = payload_dir(&options.data_dir);
    std::fs::create_dir_all(&payloads)?;
    let engine = Engine::open(&options.data_dir)?;
    let queue = Queue::open(engine.store().clone())?;
    let needed = queue.needed_payloads()?;
    for entry in std::fs::read_dir(&payloads)? {
        let entry = entry?;
        if !needed.iter().any(|name| entry.file_name() == name.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok((engine, Arc::new(queue)))
}
