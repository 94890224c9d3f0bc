//! The persist streams over whatever connection has passed the fence.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use birbnest_core::{
    Entry, KeyHash, Layout, OnQueueOutage, Partition, Record, StreamNames, Version, config::StreamConfig,
    counted,
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{
    Progress,
    connection::{InvalidAddress, addresses},
    dead_letters::DeadLetters,
    error::{AppendError, ReadError},
    reach::Reach,
    session::{self, Session},
    switch::{Closed, Switch},
    turn::{Expected, Turn},
};
use crate::{
    Connectivity,
    fence::{Fence, FenceWatch},
    postgres::Postgres,
};

/// For so long a write waits for a connection that knows the partitions that have just begun.
const RECONNECT: Duration = Duration::from_secs(2);

/// A handle to the persist streams, cheap to clone.
#[derive(Clone)]
pub struct Log {
    session: Arc<ArcSwapOption<Session>>,
    names: Arc<StreamNames>,
    fences: FenceWatch,
    status: watch::Receiver<Connectivity>,
}

impl Log {
    /// Starts connecting and passing the fence in the background, and taking the steps between queue and PostgreSQL that
    /// `on_outage` asks for, or that somebody else has begun.
    ///
    /// # Errors
    /// When the address is not one of NATS.
    pub fn start(
        url: &str,
        config: &StreamConfig,
        postgres: Postgres,
        fences: FenceWatch,
        on_outage: OnQueueOutage,
    ) -> Result<Self, InvalidAddress> {
        let servers = addresses(url)?;
        let session = Arc::new(ArcSwapOption::empty());
        let (sender, status) = watch::channel(Connectivity::default());
        let reach = Reach::default();
        let switch = Switch {
            postgres: postgres.clone(),
            fences: fences.clone(),
            reach: reach.clone(),
            on_outage,
            closed: Closed::default(),
        };
        tokio::spawn(switch.run(Arc::downgrade(&session)));
        let connector = session::Connector {
            servers,
            config: config.clone(),
            postgres,
            fences: fences.clone(),
            status: sender,
            reach,
            on_outage,
            holder: Uuid::new_v4(),
        };
        tokio::spawn(session::keep_connected(connector, Arc::downgrade(&session)));
        let names = Arc::new(StreamNames::new(&config.prefix));
        Ok(Self {
            session,
            names,
            fences,
            status,
        })
    }

    /// Whether writes can be queued, and if not, why.
    pub fn status(&self) -> watch::Receiver<Connectivity> {
        self.status.clone()
    }

    /// The dead letters over the current connection.
    ///
    /// # Errors
    /// Says why there is no connection that has passed the fence.
    pub fn dead_letters(&self) -> Result<DeadLetters, String> {
        let session = self.session()?;
        Ok(DeadLetters::new(session.context.clone(), Arc::clone(&self.names)))
    }

    /// The partition over the current connection.
    ///
    /// # Errors
    /// Says why there is no connection that has passed the fence.
    pub fn turn(&self, partition: Partition) -> Result<Turn, String> {
        let session = self.session()?;
        match session.gate(partition).cloned() {
            Some(gate) => Ok(Turn::new(session, gate, Arc::clone(&self.names), partition)),
            None => Err(format!(
                "partition {partition} is none of those of the connection"
            )),
        }
    }

    /// The partition that a write of this key goes through. While other partitions are about to take the place of those
    /// that there are, waits for them: for some seconds at most.
    pub async fn partition_of_write(&self, hash: KeyHash) -> Option<Partition> {
        if self.fences.is_changing() {
            self.fences.until_settled().await;
        }
        self.partition(hash).await
    }

    /// The partition of a key. If there are other partitions since a moment ago, waits for the connection that knows them.
    pub async fn partition(&self, hash: KeyHash) -> Option<Partition> {
        let layout = self.fences.layout()?;
        if !self.knows(layout) {
            self.until_known(layout).await;
        }
        Some(layout.partition(hash))
    }

    async fn until_known(&self, layout: Layout) {
        let seen = *self.fences.layouts().borrow();
        // Who has been without a connection for longer is so for another reason.
        let patience = seen.map_or(Duration::ZERO, |seen| {
            RECONNECT.saturating_sub(seen.since.elapsed())
        });
        let mut status = self.status.clone();
        let _late = timeout(patience, status.wait_for(|_| self.knows(layout))).await;
    }

    fn knows(&self, layout: Layout) -> bool {
        let session = self.session.load();
        session.as_ref().is_some_and(|session| session.layout == layout)
    }

    fn session(&self) -> Result<Arc<Session>, String> {
        match self.session.load_full() {
            Some(session) if !session.has_ended() => Ok(session),
            Some(_) => Err("the connection was lost".to_owned()),
            None => Err(match &*self.status.borrow() {
                Connectivity::Lost(reason) => reason.clone(),
                Connectivity::Connected => "the connection is being replaced".to_owned(),
            }),
        }
    }

    /// Appends a record whatever is there, and waits for JetStream's acknowledgement: [`Turn::append`]. `held` is dropped
    /// together with the message, which a server that has stopped leaves in memory for longer than anybody waits for it.
    ///
    /// # Errors
    /// Says whether nothing was stored or the outcome is unknown.
    pub async fn append(
        &self,
        partition: Partition,
        hash: KeyHash,
        record: &Record,
        held: impl Send + 'static,
    ) -> Result<Version, AppendError> {
        let turn = self.turn(partition).map_err(AppendError::Down)?;
        let payload = counted(birbnest_core::encode(record)?, held);
        turn.publish(hash, payload, Expected::Anything).await
    }

    /// The last message of a key that the stream still holds, from the leader: [`Turn::last`].
    ///
    /// # Errors
    /// When JetStream cannot be asked or holds what this release cannot read.
    pub async fn last(&self, partition: Partition, hash: KeyHash) -> Result<Option<Entry>, ReadError> {
        let turn = self.turn(partition).map_err(ReadError::Down)?;
        Ok(turn.last(hash).await?.entry)
    }

    /// How far the workers are with the partition of this fence: [`Turn::progress`].
    ///
    /// # Errors
    /// When JetStream cannot be asked.
    pub async fn progress(&self, fence: &Fence) -> Result<Progress, ReadError> {
        let turn = self.turn(fence.partition).map_err(ReadError::Down)?;
        turn.progress(fence).await
    }
}
