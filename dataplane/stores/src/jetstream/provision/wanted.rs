//! What the streams and the consumers must look like, and what may be changed in one that exists. Pure.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{self, AckPolicy, DeliverPolicy, ReplayPolicy},
    stream::{self, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType},
};
use birbnest_core::{Base, DrainTerm, Incarnation, Layout, Partition, StreamNames, config::StreamConfig};

use crate::{
    epoch::Remembered,
    fence::{Fence, Mode},
};

/// Metadata key that says whose stream it is; its value is the prefix.
pub const OWNER_KEY: &str = "birbnest.dev/prefix";

/// Metadata key of a persist stream for the layout that it belongs to.
const LAYOUT_KEY: &str = "birbnest.dev/layout";

/// Metadata key of a consumer for the base of its epoch: who does not read the fence knows the versions by it.
const BASE_KEY: &str = "birbnest.dev/base";

/// Metadata key of a consumer for the stream that its epoch belongs to: see [`crate::epoch`].
const INCARNATION_KEY: &str = "birbnest.dev/incarnation";

/// Deduplication by `Nats-Msg-Id` within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
/// That of the dead letters, which are few: a worker that died may be away for a while before the write comes again.
const DEAD_DUPLICATE_WINDOW: Duration = Duration::from_hours(1);
/// How long a worker may hold a message before it is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages in the hands of all workers of a partition: four full batches (1,000) for each of five workers. Below that
/// a worker that holds its acknowledgements back would starve the others.
const MAX_ACK_PENDING: i64 = 20_000;

/// Why an existing stream or consumer is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It belongs to somebody else; the text says by what one sees that.
    Foreign(String),
    /// It is ours, but differs in something that JetStream cannot change in place.
    Fixed(String),
}

/// A stream of the nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What holds the writes of one of the layout's partitions until PostgreSQL has them.
    Persist(Partition, Layout),
    /// What holds the writes that PostgreSQL rejects.
    Dead,
    /// What tells one life of a cluster from the next.
    Witness,
}

impl Role {
    /// Every stream that the configuration asks for.
    pub(super) fn all(config: &StreamConfig, layout: Layout) -> impl Iterator<Item = Self> + use<> {
        let persist = move |partition| Self::Persist(partition, layout);
        layout
            .partitions()
            .map(persist)
            .chain([Self::Dead])
            .chain(config.has_witness().then_some(Self::Witness))
    }

    /// What the stream is called.
    pub(super) fn stream(self, config: &StreamConfig) -> String {
        let names = StreamNames::new(&config.prefix);
        match self {
            Self::Persist(partition, _) => names.stream(partition),
            Self::Dead => names.dead(),
            Self::Witness => names.witness(),
        }
    }

    /// The witness is to forget when its servers stop.
    const fn storage(self) -> StorageType {
        match self {
            Self::Persist(..) | Self::Dead => StorageType::File,
            Self::Witness => StorageType::Memory,
        }
    }

    fn subjects(self, config: &StreamConfig) -> String {
        let names = StreamNames::new(&config.prefix);
        match self {
            Self::Persist(partition, _) => names.subjects(partition),
            Self::Dead => names.dead_subjects(),
            Self::Witness => names.witness_subject(),
        }
    }
}

/// A stream as the configuration wants it.
pub(super) fn stream(config: &StreamConfig, role: Role) -> stream::Config {
    let mut wanted = stream::Config {
        name: role.stream(config),
        ..Default::default()
    };
    prescribe_stream(&mut wanted, config, role);
    wanted
}

/// An existing stream's configuration with everything set that BirbNest prescribes and JetStream can change; whatever
/// else an administrator chose (placement, compression, description) stays.
pub(super) fn repaired_stream(
    found: &stream::Config,
    config: &StreamConfig,
    role: Role,
) -> Result<stream::Config, Obstacle> {
    let wanted = stream(config, role);
    if let Some(obstacle) = stream_obstacle(found, &wanted, &config.prefix) {
        return Err(obstacle);
    }
    let mut repaired = found.clone();
    prescribe_stream(&mut repaired, config, role);
    Ok(repaired)
}

fn prescribe_stream(target: &mut stream::Config, config: &StreamConfig, role: Role) {
    target.subjects = vec![role.subjects(config)];
    target.storage = role.storage();
    target.retention = RetentionPolicy::Limits;
    // A full stream refuses, it never drops what was acknowledged.
    target.discard = DiscardPolicy::New;
    target.discard_new_per_subject = false;
    target.max_message_size = -1;
    target.max_age = Duration::ZERO;
    target.num_replicas = usize::from(config.replicas);
    // Followers answer direct gets too, and lag: only a single copy may answer them.
    target.allow_direct = config.replicas == 1;
    target.mirror_direct = false;
    target.no_ack = false;
    target.subject_transform = None;
    target.republish = None;
    target
        .metadata
        .insert(OWNER_KEY.to_owned(), config.prefix.clone());
    let parts = match role {
        Role::Persist(_, layout) => {
            // The last write of a key stands for those before it.
            target.max_messages_per_subject = 1;
            target.duplicate_window = DUPLICATE_WINDOW;
            target.metadata.insert(LAYOUT_KEY.to_owned(), layout.to_string());
            u64::from(layout.count())
        }
        Role::Dead => {
            // Each waits for somebody's decision. They get a quarter of what is there for the others.
            target.max_messages_per_subject = -1;
            target.duplicate_window = DEAD_DUPLICATE_WINDOW;
            4
        }
        Role::Witness => {
            target.max_messages_per_subject = 1;
            target.duplicate_window = DUPLICATE_WINDOW;
            (target.max_messages, target.max_bytes) = (1, -1);
            return;
        }
    };
    target.max_messages = share(config.max_messages, parts);
    target.max_bytes = share(config.max_bytes, parts);
}

/// A part of a limit, rounded up.
fn share(total: u64, parts: u64) -> i64 {
    i64::try_from(total.div_ceil(parts)).unwrap_or(i64::MAX)
}

fn stream_obstacle(found: &stream::Config, wanted: &stream::Config, prefix: &str) -> Option<Obstacle> {
    match found.metadata.get(OWNER_KEY) {
        Some(owner) if owner != prefix => {
            return Some(Obstacle::Foreign(format!(
                "its metadata names {owner:?} as its owner"
            )));
        }
        // Without our mark only a stream that holds exactly our subjects is taken over.
        None if found.subjects != wanted.subjects => {
            return Some(Obstacle::Foreign(format!(
                "it stores the subjects {:?}",
                found.subjects
            )));
        }
        _ => {}
    }
    let fixed = [
        (
            found.storage != wanted.storage,
            "its storage is of the other kind (file, memory)",
        ),
        (
            found.retention != wanted.retention,
            "its retention is not limits, so messages vanish when they are acknowledged",
        ),
        (found.sealed, "it is sealed"),
        (found.deny_purge, "it denies purges, without which it only grows"),
        (found.mirror.is_some(), "it mirrors another stream"),
        (found.sources.is_some(), "it copies from other streams"),
        (
            found.persist_mode == Some(PersistenceMode::Async),
            "its persist mode is async: it acknowledges what is not stored",
        ),
    ];
    let reason = fixed
        .into_iter()
        .find_map(|(differs, reason)| differs.then_some(reason))?;
    Some(Obstacle::Fixed(reason.to_owned()))
}

/// The layout that a persist stream belongs to; `None` for one of a release without layouts.
pub(super) fn layout_of(found: &stream::Config) -> Option<Layout> {
    Layout::parse(found.metadata.get(LAYOUT_KEY)?)
}

/// The consumer that workers share in the fence's term.
pub(super) fn drain(fence: &Fence) -> consumer::Config {
    let term = fence.term();
    let mut wanted = consumer::Config {
        durable_name: Some(term.consumer()),
        name: Some(term.consumer()),
        ..Default::default()
    };
    prescribe_drain(&mut wanted);
    noting(wanted, fence)
}

/// The same, with the epoch of the fence in its metadata; without the incarnation where PostgreSQL takes the writes, whose
/// epoch is not the stream's.
pub(super) fn noting(mut consumer: consumer::Config, fence: &Fence) -> consumer::Config {
    let base = fence.base.get().to_string();
    consumer.metadata.insert(BASE_KEY.to_owned(), base);
    if fence.mode != Mode::Through {
        let incarnation = fence.incarnation.to_string();
        consumer.metadata.insert(INCARNATION_KEY.to_owned(), incarnation);
    }
    consumer
}

/// The base of a consumer's epoch, as [`noting`] noted it.
pub(super) fn base_of(found: &consumer::Config) -> Option<Base> {
    Base::new(found.metadata.get(BASE_KEY)?.parse().ok()?).ok()
}

/// The epoch of a consumer of this term, as [`noting`] noted it.
pub(super) fn remembered(term: DrainTerm, found: &consumer::Config) -> Option<Remembered> {
    Some(Remembered {
        epoch: term.epoch,
        base: base_of(found)?,
        incarnation: Incarnation::stored(found.metadata.get(INCARNATION_KEY)?.clone()),
    })
}

/// An existing consumer's configuration with everything set that BirbNest prescribes and JetStream can change.
pub(super) fn repaired_drain(found: &consumer::Config) -> Result<consumer::Config, Obstacle> {
    let fixed = [
        (found.deliver_subject.is_some(), "it is a push consumer"),
        (
            found.ack_policy != AckPolicy::Explicit,
            "its acknowledgement policy is not explicit",
        ),
        (
            found.deliver_policy != DeliverPolicy::All,
            "it does not deliver all messages, so some would never reach PostgreSQL",
        ),
        (
            found.replay_policy != ReplayPolicy::Instant,
            "it replays at the original pace",
        ),
    ];
    if let Some(reason) = fixed
        .into_iter()
        .find_map(|(differs, reason)| differs.then_some(reason))
    {
        return Err(Obstacle::Fixed(reason.to_owned()));
    }
    let mut repaired = found.clone();
    prescribe_drain(&mut repaired);
    Ok(repaired)
}

fn prescribe_drain(target: &mut consumer::Config) {
    target.ack_policy = AckPolicy::Explicit;
    target.deliver_policy = DeliverPolicy::All;
    target.replay_policy = ReplayPolicy::Instant;
    target.ack_wait = ACK_WAIT;
    // Poison is the worker's business: the server never gives a message up.
    target.max_deliver = -1;
    target.max_ack_pending = MAX_ACK_PENDING;
    target.filter_subject = String::new();
    target.filter_subjects = Vec::new();
    target.headers_only = false;
    target.inactive_threshold = Duration::ZERO;
    target.backoff = Vec::new();
}

#[cfg(test)]
mod tests;
