//! Bodies: read within bounds, and parsed.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use futures::StreamExt;
use serde::Deserialize;

use crate::{app::App, problem::Problem};

/// Most of a body that is read only to be thrown away.
const MAX_DISCARDED_BYTES: usize = 16 << 20;

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

pub(super) async fn read_body(request: Request, app: &App) -> Result<Bytes, Problem> {
    let limit = app.max_body_bytes();
    if announced_bytes(request.headers()).is_some_and(|bytes| bytes > limit) {
        discard(request.into_body()).await;
        return Err(too_large(app.max_value_bytes));
    }
    match Bytes::from_request(request, app).await {
        Ok(body) => Ok(body),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(too_large(app.max_value_bytes))
        }
        Err(BytesRejection::FailedToBufferBody(error)) => {
            Err(Problem::invalid("the body ended early").cause(&error))
        }
        Err(error) => Err(Problem::invalid("the body cannot be read").cause(&error)),
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads what is too large, within bounds: a client that is still sending would see its connection break, and not the
/// answer.
async fn discard(body: Body) {
    let (mut parts, mut read) = (body.into_data_stream(), 0);
    while let Some(Ok(part)) = parts.next().await {
        read += part.len();
        if read > MAX_DISCARDED_BYTES {
            return;
        }
    }
}

pub(super) fn too_large(max_value_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST").detail(format!(
        "the value is longer than {max_value_bytes} bytes, which is this cache's limit"
    ))
}
