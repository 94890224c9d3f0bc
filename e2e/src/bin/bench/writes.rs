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
    BASE_HEADER, Base, Content, EntryId, InstanceName, Partition, Record, StreamNames, Timestamp, encode,
};
use birbnest_e2e::house::House;
use serde_json::value::RawValue;

use crate::{
    KEYS, Settings,
    measure::{Comparison, Run, run_of},
    value, wrk,
};

/// A message of the persist stream, ready to be sent.
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: bytes::Bytes,
}

/// The paths that reads and writes are spread over.
pub(crate) fn paths() -> Vec<String> {
    (0..KEYS)
        .map(|number| format!("/v1/cache/bench-{number}"))
        .collect()
}

pub(crate) async fn compare(house: &House, size: usize, settings: Settings) -> anyhow::Result<Comparison> {
    let jetstream = house.nats.jetstream().await;
    let ours = jetstream.get_stream(persist_stream(house)).await?;
    let twin = twin(&jetstream, &ours).await?;
    let names = StreamNames::new("twin");
    let messages: Vec<_> = (0..KEYS)
        .map(|number| message(&names, number, size, Base::ZERO))
        .collect::<anyhow::Result<_>>()?;
    let messages = Arc::new(messages);
    let body = format!(r#"{{"value": {}}}"#, value(size));
    let mut comparison = Comparison::new("POST queued", "publish, await ack", size);
    for _ in 0..settings.rounds {
        comparison
            .ours
            .push(wrk::post(house.api().client.base(), &paths(), &body, settings)?);
        ours.purge().await?;
        comparison
            .theirs
            .push(publish(&jetstream, &messages, settings).await?);
        twin.purge().await?;
    }
    jetstream.delete_stream("twin_persist_0").await?;
    Ok(comparison)
}

pub(crate) fn persist_stream(house: &House) -> String {
    StreamNames::new(&house.config.stream.prefix).stream(Partition(0))
}

/// A stream like the persist stream, with nobody else on it.
async fn twin(jetstream: &jetstream::Context, ours: &stream::Stream) -> anyhow::Result<stream::Stream> {
    let names = StreamNames::new("twin");
    let config = stream::Config {
        name: names.stream(Partition(0)),
        subjects: vec![names.subjects(Partition(0))],
        ..ours.cached_info().config.clone()
    };
    Ok(jetstream.create_stream(config).await?)
}

/// What the API would publish for this entry.
pub(crate) fn message(
    names: &StreamNames,
    number: usize,
    size: usize,
    base: Base,
) -> anyhow::Result<Message> {
    let id = EntryId {
        instance: InstanceName::global(),
        key: format!("bench-{number}").parse()?,
    };
    let subject = names.subject(Partition(0), id.hash());
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
    settings: Settings,
) -> anyhow::Result<Run> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..settings.connections)
        .map(|task| {
            let (jetstream, messages) = (jetstream.clone(), messages.clone());
            tokio::spawn(async move {
                publish_until(&jetstream, &messages, task * 7_919, began + settings.duration()).await
            })
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
