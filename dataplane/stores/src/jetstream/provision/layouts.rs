//! The layouts of which there are streams, and the end of one.
//!
//! A layout ends when all its streams are sealed. JetStream then takes nothing more for them from anybody, and no update
//! brings them back. The streams of the next one are there before.

use async_nats::jetstream::{Context, stream};
use birbnest_core::{Layout, Partition, StreamNames, config::StreamConfig};
use serde::Deserialize;
use serde_json::json;

use super::{ProvisionError, call, delete_ours, existing, found, put_stream, stream_info, wanted};

/// A stream that was asked for.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its partition.
    pub partition: Partition,
    /// What it says of itself.
    pub info: stream::Info,
}

/// The answer to a question for streams by their subjects.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
}

/// The layout that takes writes: the first one whose streams are not sealed. One that nobody has ever used is passed over for
/// a later one that is used: its streams were made again by somebody who had not heard of their end. `None` when there is no
/// stream of any.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn layout(js: &Context, config: &StreamConfig) -> Result<Option<Layout>, ProvisionError> {
    let mut left = partitions(js, config).await?;
    let mut unused = None;
    while let Some(first) = left.first().copied() {
        let stream = StreamNames::new(&config.prefix).stream(first);
        let info = found(stream_info(js, &stream).await?, &stream)?;
        // A release without layouts has one.
        let all = u16::try_from(left.len()).unwrap_or(u16::MAX);
        let layout = wanted::layout_of(&info.config).or_else(|| Layout::new(first, all));
        let Some(layout) = layout else {
            left.remove(0);
            continue;
        };
        let is_used = info.state.last_sequence > 0 || info.state.consumer_count > 0;
        if !info.config.sealed && is_used {
            return Ok(Some(layout));
        }
        if !info.config.sealed {
            unused = unused.or(Some(layout));
        }
        left.retain(|partition| layout.place(*partition).is_none());
    }
    Ok(unused)
}

/// The partitions of which there are streams, whatever their layout, in their order.
pub(super) async fn partitions(
    js: &Context,
    config: &StreamConfig,
) -> Result<Vec<Partition>, ProvisionError> {
    let names = StreamNames::new(&config.prefix);
    let subjects = names.all_subjects();
    let answer = call::<_, Names>(js, &subjects, "STREAM.NAMES", &json!({"subject": subjects})).await?;
    let streams = found(answer, &subjects)?.streams.unwrap_or_default();
    let mut partitions: Vec<_> = streams
        .iter()
        .filter_map(|name| names.partition_of(name))
        .collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// Asks the stream of each of these partitions what it has to say of itself.
///
/// # Errors
/// When one of them is missing or does not answer.
pub async fn streams(
    js: &Context,
    config: &StreamConfig,
    layout: Layout,
) -> Result<Vec<Found>, ProvisionError> {
    let mut streams = Vec::with_capacity(usize::from(layout.count()));
    for partition in layout.partitions() {
        let stream = StreamNames::new(&config.prefix).stream(partition);
        let info = found(stream_info(js, &stream).await?, &stream)?;
        streams.push(Found { partition, info });
    }
    Ok(streams)
}

/// Seals the streams of a layout, for good: nothing is added to them any more, nor removed.
///
/// # Errors
/// When one of them is missing, or JetStream does not answer or refuses.
pub async fn seal(js: &Context, config: &StreamConfig, layout: Layout) -> Result<(), ProvisionError> {
    for Found { info, .. } in streams(js, config, layout).await? {
        if !info.config.sealed {
            let sealed = stream::Config {
                sealed: true,
                ..info.config
            };
            put_stream(js, "UPDATE", &sealed).await?;
        }
    }
    Ok(())
}

/// Deletes the persist streams of earlier layouts: those that are sealed, and those that never held anything.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn retire(js: &Context, config: &StreamConfig, kept: Layout) -> Result<(), ProvisionError> {
    let all = partitions(js, config).await?.into_iter();
    for partition in all.filter(|partition| *partition < kept.first()) {
        let stream = StreamNames::new(&config.prefix).stream(partition);
        let Some(info) = existing(js, &stream).await? else {
            continue;
        };
        if info.config.sealed || info.state.last_sequence == 0 {
            delete_ours(js, config, &stream).await?;
        }
    }
    Ok(())
}
