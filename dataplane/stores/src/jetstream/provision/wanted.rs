//! What the streams and the consumers must look like, and what may be changed in one that exists. Pure.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{self, AckPolicy, DeliverPolicy, ReplayPolicy},
    stream::{self, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType},
};
use birbnest_core::{Base, DrainTerm, Layout, Partition, StreamNames, config::StreamConfig};

/// Metadata key that says whose stream it is; its value is the prefix.
pub const OWNER_KEY: &str = "birbnest.dev/prefix";

/// Metadata key of a persist stream for the layout that it belongs to.
const LAYOUT_KEY: &str = "birbnest.dev/layout";

/// Metadata key of a consumer for the base of its epoch: who does not read the fence knows the versions by it.
const BASE_KEY: &str = "birbnest.dev/base";

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

/// The consumer that workers share in a term, of an epoch with this base.
pub(super) fn drain(term: DrainTerm, base: Base) -> consumer::Config {
    let mut wanted = consumer::Config {
        durable_name: Some(term.consumer()),
        name: Some(term.consumer()),
        ..Default::default()
    };
    wanted
        .metadata
        .insert(BASE_KEY.to_owned(), base.get().to_string());
    prescribe_drain(&mut wanted);
    wanted
}

/// The base of a consumer's epoch, as [`drain`] noted it.
pub(super) fn base_of(found: &consumer::Config) -> Option<Base> {
    Base::new(found.metadata.get(BASE_KEY)?.parse().ok()?).ok()
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
mod tests {
    use super::*;

    fn config() -> StreamConfig {
        StreamConfig::default()
    }

    fn layout() -> Layout {
        Layout::of_new_nest(3)
    }

    fn first() -> Role {
        Role::Persist(Partition(0), layout())
    }

    #[test]
    fn limits_are_shared_among_the_partitions_rounded_up() {
        let wanted = stream(&config(), Role::Persist(Partition(1), layout()));
        assert_eq!(wanted.max_messages, 333_334);
        assert_eq!(wanted.max_bytes, 357_913_942);
        assert_eq!(wanted.subjects, ["cache.persist.1.>"]);
    }

    #[test]
    fn dead_letters_of_one_key_wait_side_by_side_and_a_full_stream_refuses() {
        let wanted = stream(&config(), Role::Dead);
        assert_eq!(
            (wanted.name.as_str(), wanted.subjects),
            ("cache_dead", vec!["cache.dead.>".to_owned()])
        );
        assert_eq!(
            (wanted.max_messages_per_subject, wanted.discard),
            (-1, DiscardPolicy::New)
        );
        assert_eq!((wanted.max_messages, wanted.max_bytes), (250_000, 1 << 28));
    }

    #[test]
    fn replicas_have_a_witness_that_forgets_when_they_stop() {
        assert!(!Role::all(&config(), layout()).any(|role| role == Role::Witness));
        let replicated = StreamConfig {
            replicas: 3,
            ..config()
        };
        assert!(Role::all(&replicated, layout()).any(|role| role == Role::Witness));
        let wanted = stream(&replicated, Role::Witness);
        assert_eq!(
            (wanted.name.as_str(), wanted.storage, wanted.num_replicas),
            ("cache_witness", StorageType::Memory, 3)
        );
        let mut found = wanted.clone();
        assert_eq!(repaired_stream(&found, &replicated, Role::Witness), Ok(wanted));
        found.storage = StorageType::File;
        assert!(repaired_stream(&found, &replicated, Role::Witness).is_err());
    }

    #[test]
    fn only_a_single_copy_answers_direct_gets() {
        assert!(stream(&config(), first()).allow_direct);
        let replicated = StreamConfig {
            replicas: 3,
            ..config()
        };
        assert!(!stream(&replicated, first()).allow_direct);
    }

    #[test]
    fn a_limit_changed_by_hand_is_set_back_and_a_description_stays() {
        let wanted = stream(&config(), first());
        let mut found = wanted.clone();
        found.max_messages = 5;
        found.discard = DiscardPolicy::Old;
        found.description = Some("ours".to_owned());
        found.metadata.insert("_nats.ver".to_owned(), "2.15.0".to_owned());
        let repaired = repaired_stream(&found, &config(), first()).unwrap();
        assert_eq!(repaired.max_messages, wanted.max_messages);
        assert_eq!(repaired.discard, DiscardPolicy::New);
        assert_eq!(repaired.description, found.description);
        assert_eq!(repaired.metadata.len(), 3);
        assert_eq!(layout_of(&repaired), Some(layout()));
        assert_eq!(repaired_stream(&repaired, &config(), first()).unwrap(), repaired);
    }

    #[test]
    fn a_stream_of_somebody_else_is_left_alone() {
        let mut found = stream(&config(), first());
        found.metadata.insert(OWNER_KEY.to_owned(), "other".to_owned());
        let refused = repaired_stream(&found, &config(), first()).unwrap_err();
        assert!(matches!(refused, Obstacle::Foreign(_)));

        found.metadata.clear();
        assert!(repaired_stream(&found, &config(), first()).is_ok());
        found.subjects = vec!["orders.>".to_owned()];
        let refused = repaired_stream(&found, &config(), first()).unwrap_err();
        assert_eq!(
            refused,
            Obstacle::Foreign(r#"it stores the subjects ["orders.>"]"#.to_owned())
        );
    }

    #[test]
    fn a_consumer_tells_the_base_of_its_epoch() {
        let base = Base::new(1 << 32).unwrap();
        assert_eq!(
            base_of(&drain(DrainTerm { epoch: 2, replay: 7 }, base)),
            Some(base)
        );
        assert_eq!(base_of(&consumer::Config::default()), None);
    }

    #[test]
    fn what_cannot_be_changed_in_place_is_named() {
        let mut found = stream(&config(), first());
        found.retention = RetentionPolicy::WorkQueue;
        let refused = repaired_stream(&found, &config(), first()).unwrap_err();
        assert!(
            matches!(&refused, Obstacle::Fixed(why) if why.contains("retention")),
            "{refused:?}"
        );
        let mut found = drain(DrainTerm { epoch: 1, replay: 0 }, Base::ZERO);
        found.deliver_policy = DeliverPolicy::New;
        let refused = repaired_drain(&found).unwrap_err();
        assert!(
            matches!(&refused, Obstacle::Fixed(why) if why.contains("deliver all")),
            "{refused:?}"
        );
    }
}
