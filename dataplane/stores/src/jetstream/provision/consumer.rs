//! The durable consumer that the workers of a partition share: one per epoch, and another one after each failover of
//! PostgreSQL.
//!
//! An acknowledgement names the stream, the consumer and a sequence, and nothing else. In another epoch the same sequence
//! may be another message, so the consumer is another one, too: what was delivered by the old one can settle nothing of
//! the new one, however late its acknowledgement comes. The same holds after a failover: what was acknowledged to the old
//! consumer may be lost in PostgreSQL. Whoever knows the term from the fence makes the consumer; what the stream still
//! holds is then delivered again, which versions make harmless.

use async_nats::jetstream::{
    self, Context, ErrorCode,
    consumer::{self, Config},
    stream::DeleteStatus,
};
use birbnest_core::DrainTerm;
use serde::Deserialize;
use serde_json::json;

use super::{Change, ProvisionError, call, differences, found, obstruct, wanted};
use crate::{epoch::Remembered, fence::Fence};

/// The answer to a question for the consumers of a stream.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    consumers: Option<Vec<String>>,
}

/// Makes the consumer of the fence's term if it is missing, has it note the epoch, and removes those of earlier terms. Returns
/// its name.
///
/// # Errors
/// When JetStream does not answer or refuses. An earlier consumer that stays behind is no error: it settles nothing.
pub async fn ensure_consumer(js: &Context, stream: &str, fence: &Fence) -> Result<String, ProvisionError> {
    let term = fence.term();
    let name = term.consumer();
    match info(js, stream, &name).await? {
        Ok(info) => {
            // One of an earlier release, or of an epoch that was lost before anybody used it, notes something else.
            let noting = wanted::noting(info.config.clone(), fence);
            if noting != info.config {
                put(js, stream, &noting).await?;
            }
        }
        Err(absent) if absent.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {
            let made = wanted::drain(fence);
            if !create(js, stream, &made).await? {
                put(js, stream, &made).await?;
            }
        }
        Err(source) => return Err(refused(stream, source)),
    }
    for (earlier, other) in of_workers(js, stream).await? {
        if earlier < term {
            let subject = format!("CONSUMER.DELETE.{stream}.{other}");
            let deleted = call::<_, DeleteStatus>(js, stream, &subject, &json!({})).await?;
            if let Err(error) = deleted {
                tracing::debug!(stream, consumer = other, %error, "the consumer of an earlier term stays");
            }
        }
    }
    Ok(name)
}

/// The epoch of the latest consumer, if it is a later one than this. `None` also where that consumer notes no incarnation: it is
/// of an earlier release, or PostgreSQL took the writes.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn epoch_after(
    js: &Context,
    stream: &str,
    epoch: i64,
) -> Result<Option<Remembered>, ProvisionError> {
    let Some(term) = latest(js, stream).await?.filter(|term| term.epoch > epoch) else {
        return Ok(None);
    };
    let consumer = found(of_term(js, stream, term).await?, stream)?;
    Ok(consumer.and_then(|consumer| wanted::remembered(term, &consumer.config)))
}

/// The consumer of the latest term; `None` before anybody has passed the fence.
pub(super) async fn current(
    js: &Context,
    stream: &str,
) -> Result<Result<Option<consumer::Info>, jetstream::Error>, ProvisionError> {
    match latest(js, stream).await? {
        Some(term) => of_term(js, stream, term).await,
        None => Ok(Ok(None)),
    }
}

/// The latest term that there is a consumer of.
async fn latest(js: &Context, stream: &str) -> Result<Option<DrainTerm>, ProvisionError> {
    let terms = of_workers(js, stream).await?.into_iter();
    Ok(terms.map(|(term, _)| term).max())
}

/// The consumer of a term; `None` when nobody has made it.
pub(super) async fn of_term(
    js: &Context,
    stream: &str,
    term: DrainTerm,
) -> Result<Result<Option<consumer::Info>, jetstream::Error>, ProvisionError> {
    Ok(match info(js, stream, &term.consumer()).await? {
        Ok(info) => Ok(Some(info)),
        Err(absent) if absent.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    })
}

/// Sets back what was changed. A consumer that is missing is made by those who know its term.
pub(super) async fn repair(js: &Context, stream: &str) -> Result<Change, ProvisionError> {
    let Some(info) = found(current(js, stream).await?, stream)? else {
        return Ok(Change::None);
    };
    let repaired = wanted::repaired_drain(&info.config).map_err(|obstacle| {
        let what = format!("consumer {} of the stream {stream}", info.name);
        obstruct(obstacle, stream, what)
    })?;
    if repaired == info.config {
        return Ok(Change::None);
    }
    put(js, stream, &repaired).await?;
    Ok(Change::Repaired(differences(&info.config, &repaired)))
}

/// Terms and names of the workers' consumers.
async fn of_workers(js: &Context, stream: &str) -> Result<Vec<(DrainTerm, String)>, ProvisionError> {
    let subject = format!("CONSUMER.NAMES.{stream}");
    let answer = call::<_, Names>(js, stream, &subject, &json!({})).await?;
    let names = found(answer, stream)?.consumers.unwrap_or_default();
    let known = names.into_iter();
    Ok(known
        .filter_map(|name| Some((DrainTerm::of_consumer(&name)?, name)))
        .collect())
}

async fn info(
    js: &Context,
    stream: &str,
    name: &str,
) -> Result<Result<consumer::Info, jetstream::Error>, ProvisionError> {
    call(js, stream, &format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await
}

/// `false` when somebody else was faster, with other settings.
async fn create(js: &Context, stream: &str, settings: &Config) -> Result<bool, ProvisionError> {
    match order(js, stream, "create", settings).await? {
        Ok(_) => Ok(true),
        Err(error) if error.error_code() == ErrorCode::CONSUMER_ALREADY_EXISTS => Ok(false),
        Err(source) => Err(refused(stream, source)),
    }
}

async fn put(js: &Context, stream: &str, settings: &Config) -> Result<(), ProvisionError> {
    match order(js, stream, "update", settings).await? {
        Ok(_) => Ok(()),
        Err(source) => Err(refused(stream, source)),
    }
}

async fn order(
    js: &Context,
    stream: &str,
    action: &str,
    settings: &Config,
) -> Result<Result<consumer::Info, jetstream::Error>, ProvisionError> {
    let name = settings.durable_name.as_deref().unwrap_or_default();
    let order = json!({"stream_name": stream, "config": settings, "action": action});
    call(js, stream, &format!("CONSUMER.CREATE.{stream}.{name}"), &order).await
}

fn refused(stream: &str, source: jetstream::Error) -> ProvisionError {
    ProvisionError::Refused {
        stream: stream.to_owned(),
        source,
    }
}
