//! Creates, compares and repairs the streams and their consumers.
//!
//! Whatever can be changed in place is set back; what cannot be, or belongs to somebody else, is reported and never
//! recreated: a recreated stream has lost the writes that only it held.

mod consumer;
mod error;
mod layouts;
mod wanted;

use std::collections::BTreeSet;

use async_nats::jetstream::{
    self, Context, ErrorCode,
    consumer::Info as ConsumerInfo,
    response::Response,
    stream::{self, Config as StreamSettings},
};
use birbnest_core::{DrainTerm, Layout, Partition, StreamNames, Version, config::StreamConfig};
use futures::{StreamExt, TryStreamExt, stream::iter};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

pub use consumer::{ensure_consumer, epoch_after};
pub use error::ProvisionError;
pub use layouts::{Found, layout, retire, seal, streams};
pub use wanted::OWNER_KEY;
use wanted::{Obstacle, Role};

use super::{
    error::ReadError,
    progress::{Queued, first_above, settled_through, unacknowledged},
};

/// Partitions that are asked for their figures at the same time.
const AT_ONCE: usize = 16;

/// What was found and done for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// The stream.
    pub stream: String,
    /// What was done to the stream.
    pub stream_change: Change,
    /// What was done to its consumer; nothing where it has none, or none yet.
    pub consumer_change: Change,
}

/// What was done to a stream or consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was as it should be.
    None,
    /// It did not exist.
    Created,
    /// It had been changed, and was set back: which settings, and what they were.
    Repaired(Vec<String>),
}

/// Figures of one partition: what scaling and status are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The partition.
    pub partition: Partition,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
    /// Messages that were delivered more than once and are not acknowledged yet.
    pub redelivered: u64,
    /// Highest sequence below which everything is acknowledged.
    pub ack_floor: u64,
    /// The epoch of the consumer, 0 before there is one.
    pub epoch: i64,
    /// The version up to which no write waits any more, if the consumer tells the base of its epoch.
    pub persisted_through: Option<Version>,
    /// Deliveries to workers so far, repeated ones included.
    pub delivered: u64,
    /// Sequence of the last message that the stream took.
    pub last_sequence: u64,
    /// Age of the oldest message that is not acknowledged, in seconds.
    pub oldest_age_seconds: Option<u64>,
    /// Whether stream or consumer differ from what the configuration prescribes.
    pub drifted: bool,
}

impl Figures {
    /// Before anybody has passed the fence and made a consumer.
    fn undelivered(partition: Partition, pending: u64) -> Self {
        Self {
            partition,
            pending,
            ack_pending: 0,
            redelivered: 0,
            ack_floor: 0,
            epoch: 0,
            persisted_through: None,
            delivered: 0,
            last_sequence: 0,
            oldest_age_seconds: None,
            drifted: false,
        }
    }
}

/// Creates what is missing and repairs what was changed: the persist stream of each of these partitions with its consumer (which is
/// made by those who pass the fence, see [`ensure_consumer`]), and the stream of the dead letters. Safe to call at any time.
///
/// # Errors
/// The first stream that could not be brought into shape; the ones before it are done.
pub async fn ensure(
    js: &Context,
    config: &StreamConfig,
    layout: Layout,
) -> Result<Vec<Provisioned>, ProvisionError> {
    let mut done = Vec::with_capacity(usize::from(layout.count()) + 1);
    for role in Role::all(config, layout) {
        let stream = role.stream(config);
        let stream_change = ensure_stream(js, &stream, config, role).await?;
        let consumer_change = match role {
            Role::Persist(..) => consumer::repair(js, &stream).await?,
            Role::Dead | Role::Witness => Change::None,
        };
        done.push(Provisioned {
            stream,
            stream_change,
            consumer_change,
        });
    }
    Ok(done)
}

/// Asks stream and consumer of each of these partitions for their figures.
///
/// # Errors
/// When one of them is missing or does not answer: figures of some partitions only would mislead.
pub async fn figures(
    js: &Context,
    config: &StreamConfig,
    layout: Layout,
) -> Result<Vec<Figures>, ProvisionError> {
    let asked = layout
        .partitions()
        .map(|partition| figures_of(js, config, partition, layout));
    // Together: each takes a few round trips, and together they must be fresh.
    iter(asked).buffered(AT_ONCE).try_collect().await
}

async fn figures_of(
    js: &Context,
    config: &StreamConfig,
    partition: Partition,
    layout: Layout,
) -> Result<Figures, ProvisionError> {
    let name = StreamNames::new(&config.prefix).stream(partition);
    let stream = found(stream_info(js, &name).await?, &name)?;
    let consumer = found(consumer::current(js, &name).await?, &name)?;
    let stream_fits = wanted::repaired_stream(&stream.config, config, Role::Persist(partition, layout))
        .as_ref()
        == Ok(&stream.config);
    let mut figures = match &consumer {
        Some(consumer) => consumed(js, &name, partition, consumer).await?,
        None => Figures::undelivered(partition, stream.state.messages),
    };
    figures.last_sequence = stream.state.last_sequence;
    figures.drifted |= !stream_fits;
    Ok(figures)
}

/// What the consumer says of its partition.
async fn consumed(
    js: &Context,
    stream: &str,
    partition: Partition,
    consumer: &ConsumerInfo,
) -> Result<Figures, ProvisionError> {
    let floor = consumer.ack_floor.stream_sequence;
    let (oldest, base) = match oldest(js, stream, consumer).await {
        Ok(oldest) => (oldest, wanted::base_of(&consumer.config)),
        // Without it neither age nor version is known; scaling needs neither.
        Err(_) => (None, None),
    };
    Ok(Figures {
        pending: consumer.num_pending,
        ack_pending: consumer.num_ack_pending as u64,
        redelivered: consumer.num_redelivered as u64,
        ack_floor: floor,
        epoch: DrainTerm::of_consumer(&consumer.name).map_or(0, |term| term.epoch),
        persisted_through: base.and_then(|base| settled_through(base, floor, oldest).ok()),
        delivered: consumer.delivered.consumer_sequence,
        oldest_age_seconds: oldest.map(|oldest| oldest.age().as_secs()),
        drifted: wanted::repaired_drain(&consumer.config).as_ref() != Ok(&consumer.config),
        ..Figures::undelivered(partition, 0)
    })
}

/// Messages of these partitions that are not acknowledged. A stream that is not there holds none; one without its consumer
/// counts whole, since nobody knows which of its messages were persisted.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn backlog(js: &Context, config: &StreamConfig, layout: Layout) -> Result<u64, ProvisionError> {
    let mut backlog = 0;
    for partition in layout.partitions() {
        backlog += waiting(js, config, partition).await?;
    }
    Ok(backlog)
}

/// Messages of a partition that are not acknowledged to the consumer of this term. Before there is one it counts whole: what
/// was acknowledged to an earlier one may be lost.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn backlog_of_term(
    js: &Context,
    config: &StreamConfig,
    partition: Partition,
    term: DrainTerm,
) -> Result<u64, ProvisionError> {
    let name = StreamNames::new(&config.prefix).stream(partition);
    let stream = found(stream_info(js, &name).await?, &name)?;
    let consumer = found(consumer::of_term(js, &name, term).await?, &name)?;
    Ok(consumer.as_ref().map_or(stream.state.messages, unacknowledged))
}

/// As [`backlog`], of every partition that there is a stream of: also of an earlier layout, which may not be drained yet.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn whole_backlog(js: &Context, config: &StreamConfig) -> Result<u64, ProvisionError> {
    let mut backlog = 0;
    for partition in layouts::partitions(js, config).await? {
        backlog += waiting(js, config, partition).await?;
    }
    Ok(backlog)
}

async fn waiting(js: &Context, config: &StreamConfig, partition: Partition) -> Result<u64, ProvisionError> {
    let name = StreamNames::new(&config.prefix).stream(partition);
    let Some(stream) = existing(js, &name).await? else {
        return Ok(0);
    };
    let consumer = found(consumer::current(js, &name).await?, &name)?;
    Ok(consumer.as_ref().map_or(stream.state.messages, unacknowledged))
}

/// The first write above the ack floor; `None` when nothing waits.
async fn oldest(js: &Context, stream: &str, consumer: &ConsumerInfo) -> Result<Option<Queued>, ReadError> {
    if unacknowledged(consumer) == 0 {
        return Ok(None);
    }
    let stream = js.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| ReadError::Failed(error.to_string()))?;
    first_above(&stream, consumer.ack_floor.stream_sequence).await
}

/// Deletes all streams that bear our mark, those of earlier layouts and dead letters included; one that is gone already
/// counts as deleted.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn delete(js: &Context, config: &StreamConfig) -> Result<(), ProvisionError> {
    let names = StreamNames::new(&config.prefix);
    let persist = layouts::partitions(js, config).await?.into_iter();
    let persist = persist.map(|partition| names.stream(partition));
    for stream in persist.chain([names.dead(), names.witness()]) {
        delete_ours(js, config, &stream).await?;
    }
    Ok(())
}

/// Deletes a stream that bears our mark.
async fn delete_ours(js: &Context, config: &StreamConfig, stream: &str) -> Result<(), ProvisionError> {
    let Some(info) = existing(js, stream).await? else {
        return Ok(());
    };
    if info.config.metadata.get(OWNER_KEY) != Some(&config.prefix) {
        return Ok(());
    }
    let subject = format!("STREAM.DELETE.{stream}");
    match call::<_, stream::DeleteStatus>(js, stream, &subject, &json!({})).await? {
        Err(gone) if gone.error_code() != ErrorCode::STREAM_NOT_FOUND => Err(ProvisionError::Refused {
            stream: stream.to_owned(),
            source: gone,
        }),
        _ => Ok(()),
    }
}

async fn ensure_stream(
    js: &Context,
    name: &str,
    config: &StreamConfig,
    role: Role,
) -> Result<Change, ProvisionError> {
    let Some(stream::Info { config: existing, .. }) = existing(js, name).await? else {
        put_stream(js, "CREATE", &wanted::stream(config, role)).await?;
        return Ok(Change::Created);
    };
    let repaired = wanted::repaired_stream(&existing, config, role)
        .map_err(|obstacle| obstruct(obstacle, name, format!("stream {name}")))?;
    if repaired == existing {
        return Ok(Change::None);
    }
    put_stream(js, "UPDATE", &repaired).await?;
    Ok(Change::Repaired(differences(&existing, &repaired)))
}

/// The settings that are not as they should be, by JetStream's names, each with its value.
fn differences<S: Serialize>(found: &S, wanted: &S) -> Vec<String> {
    let fields = |settings: &S| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (found, wanted) = (fields(found), fields(wanted));
    let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| found.get(*name) != wanted.get(*name));
    differing
        .map(|name| match found.get(name) {
            Some(value) => format!("{name} was {value}"),
            None => format!("{name} was not set"),
        })
        .collect()
}

async fn put_stream(js: &Context, verb: &str, settings: &StreamSettings) -> Result<(), ProvisionError> {
    let name = &settings.name;
    let answer = call::<_, stream::Info>(js, name, &format!("STREAM.{verb}.{name}"), settings).await?;
    found(answer, name).map(|_| ())
}

fn obstruct(obstacle: Obstacle, stream: &str, what: String) -> ProvisionError {
    match obstacle {
        Obstacle::Foreign(evidence) => ProvisionError::Foreign {
            stream: stream.to_owned(),
            evidence,
        },
        Obstacle::Fixed(difference) => ProvisionError::Fixed { what, difference },
    }
}

fn found<T>(answer: Result<T, jetstream::Error>, stream: &str) -> Result<T, ProvisionError> {
    answer.map_err(|source| ProvisionError::Refused {
        stream: stream.to_owned(),
        source,
    })
}

/// What a stream says of itself, if there is one.
async fn existing(js: &Context, stream: &str) -> Result<Option<stream::Info>, ProvisionError> {
    match stream_info(js, stream).await? {
        Err(absent) if absent.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        answer => found(answer, stream).map(Some),
    }
}

async fn stream_info(
    js: &Context,
    stream: &str,
) -> Result<Result<stream::Info, jetstream::Error>, ProvisionError> {
    call(js, stream, &format!("STREAM.INFO.{stream}"), &json!({})).await
}

/// One request to JetStream's API: the outer error is that nobody answered, the inner one what the server said.
async fn call<Q: Serialize, A: DeserializeOwned>(
    js: &Context,
    stream: &str,
    subject: &str,
    order: &Q,
) -> Result<Result<A, jetstream::Error>, ProvisionError> {
    match js.request(subject.to_owned(), order).await {
        Ok(Response::Ok(answer)) => Ok(Ok(answer)),
        Ok(Response::Err { error }) => Ok(Err(error)),
        Err(source) => Err(ProvisionError::Unreachable {
            stream: stream.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_right_is_named_with_its_value() {
        let wanted = StreamSettings {
            max_messages: 9,
            ..StreamSettings::default()
        };
        let found = StreamSettings {
            max_messages: 5,
            description: Some("mine".to_owned()),
            ..StreamSettings::default()
        };
        assert_eq!(differences(&wanted, &wanted), Vec::<String>::new());
        assert_eq!(
            differences(&found, &wanted),
            ["description was \"mine\"", "max_msgs was 5"]
        );
        assert_eq!(
            differences(&wanted, &found),
            ["description was not set", "max_msgs was 9"]
        );
    }
}
