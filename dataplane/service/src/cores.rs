//! HTTP on every core: a thread and a runtime for each, between which nothing moves but new connections.
//!
//! A request is read, answered and written on one thread: nobody is woken on another core, and what the answers are
//! made from is not passed between caches.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
    task::{JoinError, JoinHandle},
};

use crate::{
    Shutdown,
    connections::{Answers, Connections, Drained},
    serve::pause_after,
};

/// More threads than this would ask Redis for more than it can answer.
const MOST_CORES: usize = 16;
/// Accepted connections that wait for their thread.
const WAITING: usize = 128;

/// Threads that serve HTTP. They end when this is dropped.
pub struct Cores(Vec<Core>);

struct Core {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

/// A connection, and a token that counts it.
type Accepted = (std::net::TcpStream, Arc<()>);

/// Where a core takes its connections from.
struct Inbox {
    sender: mpsc::Sender<Accepted>,
    open: Arc<()>,
}

impl Cores {
    /// A thread for each core that this process may use.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        (0..count.min(MOST_CORES))
            .map(Core::start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Makes something for each core; tasks that are spawned meanwhile run there.
    pub fn each<T>(&self, mut make: impl FnMut() -> T) -> Vec<T> {
        let on_each = self.0.iter().map(|core| {
            let _context = core.runtime.enter();
            make()
        });
        on_each.collect()
    }

    /// As [`serve`](crate::serve), with a service for each core. A new connection goes to the core that has the fewest.
    ///
    /// # Errors
    /// When a core panicked: its connections are cut.
    pub async fn serve<S: Answers>(
        self,
        listener: TcpListener,
        services: Vec<S>,
        shutdown: &Shutdown,
        grace: Duration,
    ) -> Result<Drained, JoinError> {
        let (inboxes, servers): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .zip(services)
            .map(|(core, service)| core.serve(service, shutdown.clone(), grace))
            .unzip();
        while let Some(accepted) = shutdown.or(listener.accept()).await {
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => hand_over(stream, &inboxes).await,
                Err(error) => pause_after(&error).await,
            }
        }
        drop((listener, inboxes));
        let mut drained = Drained::Fully;
        for server in servers {
            drained = drained.and(server.await?);
        }
        Ok(drained)
    }
}

impl Core {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        thread::Builder::new()
            .name(format!("http-{number}"))
            .spawn(move || runtime.block_on(ended))?;
        Ok(Self {
            runtime: handle,
            _alive: alive,
        })
    }

    fn serve<S: Answers>(
        &self,
        service: S,
        shutdown: Shutdown,
        grace: Duration,
    ) -> (Inbox, JoinHandle<Drained>) {
        let (sender, mut accepted) = mpsc::channel::<Accepted>(WAITING);
        let server = self.runtime.spawn(async move {
            let connections = Connections::new(service, &shutdown);
            while let Some((stream, token)) = accepted.recv().await {
                match TcpStream::from_std(stream) {
                    Ok(stream) => connections.add(stream, token),
                    Err(error) => tracing::error!(%error, "cannot serve a connection"),
                }
            }
            connections.drain(grace).await
        });
        let open = Arc::new(());
        (Inbox { sender, open }, server)
    }
}

async fn hand_over(stream: std::net::TcpStream, inboxes: &[Inbox]) {
    let fewest = inboxes.iter().min_by_key(|inbox| Arc::strong_count(&inbox.open));
    if let Some(inbox) = fewest
        && inbox
            .sender
            .send((stream, Arc::clone(&inbox.open)))
            .await
            .is_err()
    {
        tracing::error!("a thread that serves HTTP is gone");
    }
}
