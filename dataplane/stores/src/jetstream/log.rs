//! The persist streams over whatever connection has passed the fence.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use birbnest_core::{
    Entry, KeyHash, OnQueueOutage, Partition, Record, StreamNames, Version, config::StreamConfig, counted,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Progress,
    connection::{InvalidAddress, addresses},
    dead_letters::DeadLetters,
    error::{AppendError, ReadError},
    reach::Reach,
    session::{self, Session},
    switch::Switch,
    turn::{Expected, Turn},
};
use crate::{
    Connectivity,
    fence::{Fence, FenceWatch},
    postgres::Postgres,
};

/// A handle to the persist streams, cheap to clone.
#[derive(Clone)]
pub struct Log {
    session: Arc<ArcSwapOption<Session>>,
    names: Arc<StreamNames>,
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
            closed: BTreeMap::new(),
        };
        tokio::spawn(switch.run(Arc::downgrade(&session)));
        let connector = session::Connector {
            servers,
            config: config.clone(),
            postgres,
            fences,
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
        match session.gates.get(usize::from(partition.0)) {
            Some(gate) => {
                let gate = Arc::clone(gate);
                Ok(Turn::new(session, gate, Arc::clone(&self.names), partition))
            }
            None => Err(format!("there is no partition {partition}")),
        }
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
