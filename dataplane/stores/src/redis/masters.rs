//! Which connection serves a key: the only one, or that of the cluster's master that has the key's hash slot.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use redis::{RedisError, aio::MultiplexedConnection};
use tokio::sync::Notify;

use super::{
    CacheError,
    cluster::{SLOTS, slot_of},
    generation::Life,
};
use crate::millis;

/// A connection and the process it leads to. Both are used together: a copy is judged by the generation of the
/// connection that it was read from.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    pub(super) life: Life,
    began: Instant,
    /// Milliseconds since it began after which nobody begins anything over it.
    ends: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Session {
    pub(super) fn new(connection: MultiplexedConnection, life: Life) -> Self {
        Self {
            connection,
            life,
            began: Instant::now(),
            ends: AtomicU64::new(NEVER),
        }
    }

    /// Nobody begins anything over it any more.
    pub(super) fn give_up(&self) {
        self.ends.store(0, Ordering::Release);
    }

    /// Nobody begins anything over it after `end`, unless this is called again before.
    pub(super) fn is_good_until(&self, end: Instant) {
        let end = millis(end.saturating_duration_since(self.began));
        // One that was given up, by whoever saw it fail, stays so.
        let _ = self
            .ends
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |ends| {
                (ends > 0).then_some(end)
            });
    }

    pub(super) fn is_lost(&self) -> bool {
        match self.ends.load(Ordering::Acquire) {
            NEVER => false,
            ends => millis(self.began.elapsed()) >= ends,
        }
    }
}

/// The hash slots of a cluster, each with the connection to its master, where one is known.
pub(super) type Slots = Vec<Option<Arc<Session>>>;
/// The masters of a cluster by host and port, under each of their names.
pub(super) type Places = HashMap<String, Arc<Session>>;

/// Everybody who takes writes at the moment. It is replaced as a whole, and only by the task that keeps the connections.
#[derive(Debug)]
pub(super) enum Masters {
    One(Arc<Session>),
    Cluster(Slots, Places),
}

impl Masters {
    /// Who has this key, if somebody is known.
    pub(super) fn serving(&self, key: &str) -> Option<&Arc<Session>> {
        match self {
            Self::One(session) => Some(session).filter(|session| !session.is_lost()),
            Self::Cluster(..) => self.of_slot(slot_of(key)),
        }
    }

    /// The master of a cluster's slot.
    pub(super) fn of_slot(&self, slot: usize) -> Option<&Arc<Session>> {
        let Self::Cluster(slots, _) = self else {
            return None;
        };
        let session = slots.get(slot)?.as_ref();
        session.filter(|session| !session.is_lost())
    }

    /// The master at this place of a cluster.
    pub(super) fn at(&self, place: &str) -> Option<&Arc<Session>> {
        let Self::Cluster(_, places) = self else {
            return None;
        };
        places.get(place).filter(|session| !session.is_lost())
    }

    /// One life for all of them: it ends with that of any, and there is none while a slot is served by nobody.
    pub(super) fn life(&self) -> Option<Life> {
        let lives: BTreeSet<Life> = match self {
            Self::One(session) => BTreeSet::from([session.life]),
            Self::Cluster(..) => {
                let served = (0..SLOTS).map(|slot| self.of_slot(slot));
                served.map(|session| Some(session?.life)).collect::<Option<_>>()?
            }
        };
        lives.into_iter().reduce(Life::together)
    }

    /// Whether every slot is served as `other` says.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (Self::Cluster(own, _), Self::Cluster(others, _)) = (self, other) else {
            return false;
        };
        let mut pairs = own.iter().zip(others);
        pairs.all(|pair| match pair {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }
}

/// What requests and the connecting task share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    masters: ArcSwapOption<Masters>,
    /// Told when something must be looked at before its time.
    pub(super) look: Notify,
}

impl Shared {
    /// The connection that serves a key, while there is one.
    pub(super) fn serving(&self, key: &str) -> Result<Arc<Session>, CacheError> {
        let masters = self.masters.load();
        let session = masters.as_ref().and_then(|masters| masters.serving(key));
        session.cloned().ok_or(CacheError::NotConnected)
    }

    /// All of them, while there are any.
    pub(super) fn masters(&self) -> Result<Arc<Masters>, CacheError> {
        let masters = self.masters.load_full();
        let masters = masters.filter(|masters| !matches!(&**masters, Masters::One(one) if one.is_lost()));
        masters.ok_or(CacheError::NotConnected)
    }

    pub(super) fn replace(&self, masters: Masters) {
        self.masters.store(Some(Arc::new(masters)));
    }

    /// Gives a session up after an error that no later command on it would survive. A cluster that refuses a key is looked
    /// at anew: the key may have moved.
    pub(super) fn note(&self, session: &Session, error: &RedisError) {
        // A read-only replica was a master before a failover; a new connection finds the new one.
        let lost = error.is_unrecoverable_error() || error.is_io_error() && !error.is_timeout();
        if lost || error.code() == Some("READONLY") {
            session.give_up();
            self.look.notify_one();
        } else if matches!(error.code(), Some("MOVED" | "CLUSTERDOWN")) {
            let masters = self.masters.load();
            if masters.as_ref().is_some_and(|masters| masters.is_cluster()) {
                self.look.notify_one();
            }
        }
    }
}
