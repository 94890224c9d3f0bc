//! What streams, subjects and consumers are called, and how a stream is told from another of the same name.

use std::fmt;

use crate::{KeyHash, Partition};

/// What the names of the durable consumers of the persist streams start with.
const CONSUMER: &str = "drain_";

/// Which durable consumer of a persist stream the workers share. A higher one takes the place of a lower one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DrainTerm {
    /// The epoch of the fence.
    pub epoch: i64,
    /// Which delivery of the stream's messages: 0, or a number from the clock after a failover of PostgreSQL, a lost epoch or
    /// another layout.
    pub replay: i64,
}

impl DrainTerm {
    /// The name of the consumer.
    pub fn consumer(self) -> String {
        match self {
            Self { epoch, replay: 0 } => format!("{CONSUMER}{epoch}"),
            Self { epoch, replay } => format!("{CONSUMER}{epoch}_{replay}"),
        }
    }

    /// The term of a consumer of this name, `None` when it is somebody else's.
    pub fn of_consumer(name: &str) -> Option<Self> {
        let term = name.strip_prefix(CONSUMER)?;
        let (epoch, replay) = term.split_once('_').unwrap_or((term, "0"));
        Some(Self {
            epoch: epoch.parse().ok()?,
            replay: replay.parse().ok()?,
        })
    }
}

/// The names that follow from the configured prefix.
#[derive(Clone, Debug)]
pub struct StreamNames {
    prefix: String,
}

impl StreamNames {
    /// Names that start with this prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The persist stream of a partition.
    pub fn stream(&self, partition: Partition) -> String {
        format!("{}_persist_{partition}", self.prefix)
    }

    /// Every subject of that stream, as a wildcard.
    pub fn subjects(&self, partition: Partition) -> String {
        format!("{}.persist.{partition}.>", self.prefix)
    }

    /// Every subject of every persist stream, as a wildcard.
    pub fn all_subjects(&self) -> String {
        format!("{}.persist.>", self.prefix)
    }

    /// The partition whose persist stream has this name, `None` when it is another stream.
    pub fn partition_of(&self, stream: &str) -> Option<Partition> {
        let number = stream.strip_prefix(&self.prefix)?.strip_prefix("_persist_")?;
        number.parse().ok().map(Partition)
    }

    /// The one subject of a key.
    pub fn subject(&self, partition: Partition, hash: KeyHash) -> String {
        format!("{}.persist.{partition}.{hash}", self.prefix)
    }

    /// The stream in memory that tells whether the servers of a cluster have ever stopped all at once.
    pub fn witness(&self) -> String {
        format!("{}_witness", self.prefix)
    }

    /// The one subject of that stream.
    pub fn witness_subject(&self) -> String {
        format!("{}.witness", self.prefix)
    }

    /// The stream of the dead letters, one for all partitions.
    pub fn dead(&self) -> String {
        format!("{}_dead", self.prefix)
    }

    /// Every subject of that stream, as a wildcard.
    pub fn dead_subjects(&self) -> String {
        format!("{}.dead.>", self.prefix)
    }

    /// The subject of the dead letters of a key, from the subject under which its writes are queued; `None` when that is
    /// a subject of something else.
    pub fn dead_subject(&self, subject: &str) -> Option<String> {
        let place = subject.strip_prefix(&self.prefix)?.strip_prefix(".persist.")?;
        Some(format!("{}.dead.{place}", self.prefix))
    }
}

/// What tells a stream from one recreated, restored or reopened under its name: while it is the same, sequences do not
/// repeat. Opaque; only compared.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Incarnation(String);

impl Incarnation {
    /// From the stream's creation time and the life of the servers that keep it: what is new whenever they may have lost
    /// what they had acknowledged.
    pub fn new(created: &str, life: &str) -> Self {
        Self(format!("{created} {life}"))
    }

    /// As stored in the fence.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_tells_its_term() {
        let term = |epoch, replay| DrainTerm { epoch, replay };
        assert_eq!(term(12, 0).consumer(), "drain_12");
        for term in [term(12, 0), term(12, 7)] {
            assert_eq!(DrainTerm::of_consumer(&term.consumer()), Some(term));
        }
        assert!(term(2, 9) < term(12, 0) && term(12, 0) < term(12, 7));
        for other in ["drain", "drain_", "drain_1_x", "somebody_1"] {
            assert_eq!(DrainTerm::of_consumer(other), None, "{other}");
        }
    }

    #[test]
    fn a_stream_tells_its_partition() {
        let names = StreamNames::new("cache");
        let stream = names.stream(Partition(12));
        assert_eq!(names.partition_of(&stream), Some(Partition(12)));
        for other in ["cache_dead", "caches_persist_1", "cache_persist_x"] {
            assert_eq!(names.partition_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_dead_letter_keeps_its_place_under_another_subject() {
        let names = StreamNames::new("cache");
        let dead = names.dead_subject("cache.persist.3.05c7");
        assert_eq!(dead.as_deref(), Some("cache.dead.3.05c7"));
        assert_eq!(names.dead_subject("caches.persist.3.05c7"), None);
    }
}
