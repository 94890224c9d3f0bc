//! HTTP on every core: a thread and a runtime for each, between which nothing moves but new connections.
//!
//! A request is read, answered and written on one thread: nobody is woken on another core, and what the answers are
//! made from is not passed between caches.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
    task::{JoinError, JoinHandle},
};

use crate::{
    Shutdown, Tls,
    connections::{Answers, Connections, Drained, Welcome},
    patience::Tight,
    serve::pause_after,
};

/// More threads than this would ask Redis for more than it can answer.
const MOST_CORES: usize = 16;
/// Accepted connections that wait for their thread.
const WAITING: usize = 128;
/// Connections above the most that are still told so, and that probes come on; whatever exceeds these is closed unheard.
const MOST_CROWDED: usize = 256;
/// How often it is logged that connections are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Threads that serve HTTP. They end when this is dropped.
pub struct Cores(Vec<Core>);

struct Core {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

/// How connections are taken.
#[derive(Clone)]
pub struct Bounds {
    /// Open connections above which a new one is told that there are too many.
    pub connections: usize,
    /// Whether memory is short.
    pub tight: Tight,
    /// What they are encrypted with, if they are.
    pub tls: Option<Tls>,
}

/// A connection, how it is received, and a token that counts it.
type Accepted = (std::net::TcpStream, Welcome, Arc<()>);

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
        bounds: &Bounds,
        shutdown: &Shutdown,
        grace: Duration,
    ) -> Result<Drained, JoinError> {
        let (inboxes, servers): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .zip(services)
            .map(|(core, service)| core.serve(service, bounds, shutdown.clone(), grace))
            .unzip();
        let mut door = Door::new(bounds.connections);
        while let Some(accepted) = shutdown.or(listener.accept()).await {
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => {
                    if let Some(welcome) = door.welcome(open(&inboxes)) {
                        hand_over(stream, welcome, &inboxes).await;
                    }
                }
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
        bounds: &Bounds,
        shutdown: Shutdown,
        grace: Duration,
    ) -> (Inbox, JoinHandle<Drained>) {
        let (sender, mut accepted) = mpsc::channel::<Accepted>(WAITING);
        let (tight, tls) = (Arc::clone(&bounds.tight), bounds.tls.clone());
        let server = self.runtime.spawn(async move {
            let connections = Connections::new(service, tight, tls, &shutdown);
            while let Some((stream, welcome, token)) = accepted.recv().await {
                match TcpStream::from_std(stream) {
                    Ok(stream) => connections.add(stream, welcome, token),
                    Err(error) => tracing::error!(%error, "cannot serve a connection"),
                }
            }
            connections.drain(grace).await
        });
        let open = Arc::new(());
        (Inbox { sender, open }, server)
    }
}

/// Connections that are open or wait for their thread.
fn open(inboxes: &[Inbox]) -> usize {
    inboxes
        .iter()
        .map(|inbox| Arc::strong_count(&inbox.open) - 1)
        .sum()
}

/// Who is let in.
struct Door {
    most: usize,
    told: Option<Instant>,
}

impl Door {
    fn new(most: usize) -> Self {
        Self { most, told: None }
    }

    /// How a connection is received while so many are open, `None` when it is closed unheard.
    fn welcome(&mut self, open: usize) -> Option<Welcome> {
        if open < self.most / 2 {
            return Some(Welcome::Usual);
        }
        if open < self.most {
            return Some(Welcome::Hurried);
        }
        if self.told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(
                open,
                most = self.most,
                "too many connections, new ones are turned away"
            );
        }
        (open < self.most + MOST_CROWDED).then_some(Welcome::Crowded)
    }
}

async fn hand_over(stream: std::net::TcpStream, welcome: Welcome, inboxes: &[Inbox]) {
    let fewest = inboxes.iter().min_by_key(|inbox| Arc::strong_count(&inbox.open));
    if let Some(inbox) = fewest
        && inbox
            .sender
            .send((stream, welcome, Arc::clone(&inbox.open)))
            .await
            .is_err()
    {
        tracing::error!("a thread that serves HTTP is gone");
    }
}

#[cfg(test)]
mod tests {
    use Welcome::{Crowded, Hurried, Usual};

    use super::*;

    #[test]
    fn connections_are_hurried_then_told_and_then_closed() {
        let mut door = Door::new(100);
        let seen = [0, 49, 50, 99, 100, 355, 356].map(|open| door.welcome(open));
        assert_eq!(
            seen,
            [
                Some(Usual),
                Some(Usual),
                Some(Hurried),
                Some(Hurried),
                Some(Crowded),
                Some(Crowded),
                None
            ]
        );
    }
}
