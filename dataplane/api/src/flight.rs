//! Single flight: readers of one key who arrive before the sources are asked share one question.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use birbnest_core::KeyHash;
use tokio::sync::watch;

/// Shards, so that readers of different keys rarely meet at a lock.
const SHARDS: usize = 64;

type Answer<T> = Option<T>;
type Shard<T> = Mutex<HashMap<KeyHash, watch::Receiver<Answer<T>>>>;

/// The flights that can still be joined.
pub(crate) struct Flights<T> {
    shards: Box<[Shard<T>]>,
    hasher: RandomState,
}

/// What a reader gets when it asks for a key.
pub(crate) enum Boarding<T: Clone> {
    /// Nobody else asks: this reader does, and tells the others.
    Lead(Lead<T>),
    /// Somebody is about to ask. Yields `None` when they gave up.
    Join(watch::Receiver<Answer<T>>),
}

/// The right and duty to ask the sources.
pub(crate) struct Lead<T: Clone> {
    flights: Arc<Flights<T>>,
    hash: KeyHash,
    tell: watch::Sender<Answer<T>>,
    closed: bool,
}

impl<T: Clone> Flights<T> {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Joins the flight of this key, or starts one.
    pub(crate) fn board(self: &Arc<Self>, hash: KeyHash) -> Boarding<T> {
        let mut shard = self.shard(hash);
        if let Some(flight) = shard.get(&hash) {
            return Boarding::Join(flight.clone());
        }
        let (tell, flight) = watch::channel(None);
        shard.insert(hash, flight);
        Boarding::Lead(Lead {
            flights: Arc::clone(self),
            hash,
            tell,
            closed: false,
        })
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, HashMap<KeyHash, watch::Receiver<Answer<T>>>> {
        let index = usize::try_from(self.hasher.hash_one(hash)).unwrap_or_default() % SHARDS;
        // A panic elsewhere leaves the map whole: every change is a single call.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Lead<T> {
    /// Nobody can join any more. Must come before the stream is read: whoever joined later could have seen a write that
    /// this flight did not.
    pub(crate) fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.flights.shard(self.hash).remove(&self.hash);
        }
    }

    /// Tells the answer to those who joined.
    pub(crate) fn land(self, answer: T) {
        self.tell.send_replace(Some(answer));
    }
}

impl<T: Clone> Drop for Lead<T> {
    /// A leader that gives up (its client hung up) leaves no flight behind that nobody flies.
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for the answer of the flight that was joined; `None` when its leader gave up.
pub(crate) async fn joined<T: Clone>(mut flight: watch::Receiver<Answer<T>>) -> Option<T> {
    flight.wait_for(Option::is_some).await.ok()?.clone()
}

#[cfg(test)]
mod tests {
    use birbnest_core::EntryId;

    use super::*;

    fn hash() -> KeyHash {
        EntryId::global("robin".parse().unwrap()).hash()
    }

    #[tokio::test]
    async fn readers_share_an_answer_until_the_sources_are_asked() {
        let flights = Arc::new(Flights::new());
        let Boarding::Lead(mut lead) = flights.board(hash()) else {
            panic!("nobody else reads")
        };
        let Boarding::Join(early) = flights.board(hash()) else {
            panic!("the flight is open")
        };
        lead.close();
        let Boarding::Lead(_late) = flights.board(hash()) else {
            panic!("the flight is closed")
        };
        lead.land(7);
        assert_eq!(joined(early).await, Some(7));
    }

    #[tokio::test]
    async fn a_leader_that_gives_up_frees_those_who_joined() {
        let flights = Arc::new(Flights::<u8>::new());
        let Boarding::Lead(lead) = flights.board(hash()) else {
            panic!("nobody else reads")
        };
        let Boarding::Join(flight) = flights.board(hash()) else {
            panic!("the flight is open")
        };
        drop(lead);
        assert_eq!(joined(flight).await, None);
        assert!(matches!(flights.board(hash()), Boarding::Lead(_)));
    }
}
