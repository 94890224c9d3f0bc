//! Queued writes: what HTTP and the cache cost on top of a `JetStream` acknowledgement.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use async_nats::{
    HeaderMap,
    jetstream::{self, stream},
};
use birbnest_core::{
    BASE_HEADER, Base, Content, EntryId, Layout, Partition, Record, StreamNames, Timestamp, encode,
};
use birbnest_e2e::house::House;
use serde_json::value::RawValue;

use crate::{
    KEYS, Settings,
    measure::{Comparison, Run, run_of},
    usage::Usage,
    value, wrk,
};

/// A message of the persist stream, ready to be sent.
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: bytes::Bytes,
}

/// The paths that reads and writes are spread over.
pub(crate) fn paths(keys: usize) -> Vec<String> {
    (0..keys)
        .map(|number| format!("/v1/cache/bench-{number}"))
        .collect()
}

/// What the worker does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    /// It is not there.
    Away,
    /// It drains what is written, on the same two cores.
    Draining,
}

impl Worker {
    async fn begin(self, house: &House) {
        if self == Self::Draining {
            house.worker().process().start();
            house.worker().until_ready().await;
        }
    }

    async fn end(self, house: &House) {
        if self == Self::Draining {
            house.worker().stop().await;
        }
    }
}

pub(crate) async fn compare(
    name: &str,
    house: &House,
    worker: Worker,
    size: usize,
    settings: &Settings,
) -> anyhow::Result<Comparison> {
    let jetstream = house.nats.jetstream().await;
    let (names, twins) = (
        StreamNames::new(&house.config.stream.prefix),
        StreamNames::new("twin"),
    );
    for partition in partitions(settings) {
        let ours = jetstream.get_stream(names.stream(partition)).await?;
        // A stream like the persist stream, with nobody else on it.
        let config = stream::Config {
            name: twins.stream(partition),
            subjects: vec![twins.subjects(partition)],
            ..ours.cached_info().config.clone()
        };
        jetstream.create_stream(config).await?;
    }
    let messages: Vec<_> = (0..KEYS)
        .map(|number| message(&twins, layout(settings), number, size, Base::ZERO))
        .collect::<anyhow::Result<_>>()?;
    let messages = Arc::new(messages);
    let body = format!(r#"{{"value": {}}}"#, value(size));
    let mut comparison = Comparison::new(name, "publish, await ack", size, settings);
    let mut usage = Usage::default();
    for _ in 0..settings.rounds {
        worker.begin(house).await;
        let ours = usage.over(house, || {
            wrk::post(house.api().client.base(), &paths(KEYS), &body, settings)
        })?;
        comparison.ours.push(ours);
        worker.end(house).await;
        purge(&jetstream, &names, settings).await?;
        comparison
            .theirs
            .push(publish(&jetstream, &messages, settings).await?);
        purge(&jetstream, &twins, settings).await?;
    }
    comparison.usage = usage.per_operation(&comparison.ours, settings);
    for partition in partitions(settings) {
        jetstream.delete_stream(twins.stream(partition)).await?;
    }
    Ok(comparison)
}

/// Queued writes beside those that wait for PostgreSQL, of the same API.
pub(crate) async fn compare_durabilities(
    name: &str,
    house: &House,
    worker: Worker,
    size: usize,
    settings: &Settings,
) -> anyhow::Result<Comparison> {
    let jetstream = house.nats.jetstream().await;
    let names = StreamNames::new(&house.config.stream.prefix);
    let (base, paths) = (house.api().client.base(), paths(KEYS));
    let body = format!(r#"{{"value": {}}}"#, value(size));
    let mut comparison = Comparison::new(name, "POST, persisted", size, settings);
    let mut usage = Usage::default();
    for _ in 0..settings.rounds {
        worker.begin(house).await;
        let ours = usage.over(house, || wrk::post(base, &paths, &body, settings))?;
        comparison.ours.push(ours);
        let theirs = wrk::post_persisted(base, &paths, &body, settings)?;
        comparison.theirs.push(theirs);
        worker.end(house).await;
        purge(&jetstream, &names, settings).await?;
    }
    comparison.usage = usage.per_operation(&comparison.ours, settings);
    Ok(comparison)
}

/// Which partitions the house has.
pub(crate) fn layout(settings: &Settings) -> Layout {
    Layout::of_new_nest(settings.partitions)
}

/// Each of them.
pub(crate) fn partitions(settings: &Settings) -> impl Iterator<Item = Partition> {
    layout(settings).partitions()
}

/// Empties the queue.
pub(crate) async fn purge(
    jetstream: &jetstream::Context,
    names: &StreamNames,
    settings: &Settings,
) -> anyhow::Result<()> {
    for partition in partitions(settings) {
        jetstream
            .get_stream(names.stream(partition))
            .await?
            .purge()
            .await?;
    }
    Ok(())
}

/// What the API would publish for this entry.
pub(crate) fn message(
    names: &StreamNames,
    layout: Layout,
    number: usize,
    size: usize,
    base: Base,
) -> anyhow::Result<Message> {
    let id = EntryId::global(format!("bench-{number}").parse()?);
    let hash = id.hash();
    let subject = names.subject(layout.partition(hash), hash);
    let now = Timestamp::now();
    let record = Record {
        id,
        content: Content::Value {
            value: RawValue::from_string(value(size))?,
            metadata: None,
        },
        created_at: now,
        updated_at: now,
        expires_at: None,
        operation_ids: vec![],
    };
    let mut headers = HeaderMap::new();
    headers.insert(BASE_HEADER, base.get().to_string().as_str());
    Ok(Message {
        subject,
        headers,
        payload: encode(&record)?.into(),
    })
}

/// As many tasks as the API has connections, on one NATS connection as the API has; each awaits its acknowledgement.
async fn publish(
    jetstream: &jetstream::Context,
    messages: &Arc<Vec<Message>>,
    settings: &Settings,
) -> anyhow::Result<Run> {
    let began = Instant::now();
    let end = began + settings.duration();
    let tasks: Vec<_> = (0..settings.connections)
        .map(|task| {
            let (jetstream, messages) = (jetstream.clone(), messages.clone());
            tokio::spawn(async move { publish_until(&jetstream, &messages, task * 7_919, end).await })
        })
        .collect();
    let mut latencies = vec![];
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(run_of(latencies, began.elapsed()))
}

async fn publish_until(
    jetstream: &jetstream::Context,
    messages: &[Message],
    first: usize,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = vec![];
    // A step that shares no factor with the number of keys visits them all in no order that anybody could use.
    for number in (0..).map(|step: usize| (first + step * 3_571) % messages.len()) {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        send(jetstream, &messages[number]).await?.await?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Sends a message; the acknowledgement can be awaited.
pub(crate) async fn send(
    jetstream: &jetstream::Context,
    message: &Message,
) -> anyhow::Result<jetstream::context::PublishAckFuture> {
    let (subject, headers) = (message.subject.clone(), message.headers.clone());
    Ok(jetstream
        .publish_with_headers(subject, headers, message.payload.clone())
        .await?)
}

/// The version that a message of this sequence gets.
pub(crate) fn version(base: Base, sequence: u64) -> anyhow::Result<i64> {
    let sequence = NonZeroU64::new(sequence).context("sequences count from 1")?;
    Ok(base.version(sequence)?.as_i64())
}
