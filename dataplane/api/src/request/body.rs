//! Bodies: read within bounds, and parsed.

use std::{sync::Arc, time::Duration};

use axum::{
    body::BodyDataStream,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use birbnest_core::Share;
use futures::StreamExt;
use serde::Deserialize;
use tokio::time::timeout;

use crate::{app::App, metrics::Shed, problem::Problem};

/// Most of a body that is read only to be thrown away.
const MAX_DISCARDED_BYTES: usize = 16 << 20;
/// How long that may take.
const DISCARDING: Duration = Duration::from_secs(2);

/// A body that was read, and what it holds of the budget: as long as anything is made of it that is as large.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) held: Arc<Share>,
}

/// Only an object will do: a struct would be read from an array of its members, too.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(body: &'a [u8], with: &str) -> Result<T, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid(format!(
            "the body is no JSON object with {with}"
        )));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is no JSON object with {with}: {error}")))
}

/// The media type without its parameters, in lower case; empty when there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let full = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = full.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A missing media type is let pass: existing scripts send none.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(());
    }
    let media_type = media_type(headers);
    if media_type == "application/json" || media_type.len() > 5 && media_type.ends_with("+json") {
        return Ok(());
    }
    Err(
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_REQUEST")
            .detail("the body must be JSON: send Content-Type: application/json"),
    )
}

/// Reads the body within its bounds of bytes and time.
pub(super) async fn read_body(request: Request, app: &App) -> Result<Received, Problem> {
    let announced = announced_bytes(request.headers()).unwrap_or_default();
    let mut parts = request.into_body().into_data_stream();
    let refused = if announced > app.max_body_bytes() {
        too_large(app.max_value_bytes)
    } else if !app.budget.has_room(announced) {
        app.metrics.shed(Shed::Memory);
        short_of_memory()
    } else {
        match timeout(app.body_timeout, gather(&mut parts, app)).await {
            Ok(Ok(received)) => return Ok(received),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(too_slow().closing()),
        }
    };
    match timeout(DISCARDING, discard(parts)).await {
        Ok(true) => Err(refused),
        // What has not been read stands where the next request would.
        _ => Err(refused.closing()),
    }
}

/// Takes from the budget what has come, and not what was announced: a slow client holds only what it has sent.
async fn gather(parts: &mut BodyDataStream, app: &App) -> Result<Received, Problem> {
    let (mut bytes, mut share) = (Vec::new(), app.budget.share());
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| Problem::invalid("the body ended early").cause(&error))?;
        if bytes.len() + part.len() > app.max_body_bytes() {
            return Err(too_large(app.max_value_bytes));
        }
        if !share.try_grow(part.len()) {
            app.metrics.shed(Shed::Memory);
            return Err(short_of_memory());
        }
        bytes.extend_from_slice(&part);
    }
    let held = Arc::new(share);
    Ok(Received { bytes, held })
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads what is too large, within bounds: a client that is still sending would see its connection break, and not the
/// answer. Returns whether that was all.
async fn discard(mut parts: BodyDataStream) -> bool {
    let mut read = 0;
    while let Some(Ok(part)) = parts.next().await {
        read += part.len();
        if read > MAX_DISCARDED_BYTES {
            return false;
        }
    }
    true
}

/// Nothing was done, and trying again makes sense when others are through.
pub(crate) fn short_of_memory() -> Problem {
    Problem::unavailable("too many bytes are in progress, nothing was done")
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "UNAVAILABLE")
        .detail("the body took too long to arrive, nothing was done")
        .retry_after(1)
}

pub(super) fn too_large(max_value_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST").detail(format!(
        "the value is longer than {max_value_bytes} bytes, which is this cache's limit"
    ))
}
