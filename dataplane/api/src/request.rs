//! What requests say, parsed and bounded before any handler sees it.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use birbnest_core::{Content, EntryId, EntryKey, InstanceName, Record, Timestamp};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{app::App, problem::Problem};

/// The header that names a namespace of keys.
pub(crate) const INSTANCE_HEADER: &str = "x-instance-id";
/// Longest time to live: a hundred years, in seconds.
const MAX_TTL_SECONDS: u32 = 3_153_600_000;
/// Longest metadata, in bytes of JSON text.
const MAX_METADATA_BYTES: usize = 16 << 10;
/// Deepest nesting of a value: `PostgreSQL` and most clients parse recursively.
const MAX_DEPTH: usize = 128;
/// Most keys in one batch.
const MAX_BATCH: usize = 100;
/// Most of a body that is read only to be thrown away.
const MAX_DISCARDED_BYTES: usize = 16 << 20;

/// The instance that a request names, `global` when it names none.
pub(crate) struct Instance(pub(crate) InstanceName);

/// The entry that a request is about.
pub(crate) struct Target(pub(crate) EntryId);

/// An entry to be written.
pub(crate) struct Draft {
    id: EntryId,
    value: Box<RawValue>,
    metadata: Option<Box<RawValue>>,
    ttl_seconds: Option<u32>,
}

/// The keys of a batch, in the order asked.
pub(crate) struct Keys(pub(crate) Vec<EntryKey>);

impl<S: Sync> FromRequestParts<S> for Instance {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(header) = parts.headers.get(INSTANCE_HEADER) else {
            return Ok(Self(InstanceName::global()));
        };
        let name = header
            .to_str()
            .map_err(|_| Problem::invalid("X-Instance-ID is no text"))?;
        name.parse()
            .map(Self)
            .map_err(|error| Problem::invalid(format!("X-Instance-ID: {error}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Instance(instance) = Instance::from_request_parts(parts, state).await?;
        let Path(key) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("the key is not valid UTF-8 after percent-decoding"))?;
        refuse_conditions(&parts.headers)?;
        match key.parse() {
            Ok(key) => Ok(Self(EntryId { instance, key })),
            Err(error) => Err(Problem::invalid(error.to_string())),
        }
    }
}

/// A condition that is not checked must not look as if it had been.
fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ] {
        if headers.contains_key(&name) {
            let detail = format!("conditional requests are not supported yet: leave out {name}");
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "INVALID_REQUEST").detail(detail));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct DraftBody<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default)]
    ttl: Option<i64>,
}

impl FromRequest<App> for Draft {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Target(id) = Target::from_request_parts(&mut parts, app).await?;
        require_json(&parts.headers)?;
        let body = read_body(Request::from_parts(parts, body), app).await?;
        parse_draft(id, &body, app.max_value_bytes)
    }
}

/// Only an object will do: a struct would be read from an array of its members, too.
fn parse_object<'a, T: Deserialize<'a>>(body: &'a [u8], with: &str) -> Result<T, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid(format!(
            "the body is no JSON object with {with}"
        )));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is no JSON object with {with}: {error}")))
}

fn parse_draft(id: EntryId, body: &[u8], max_value_bytes: usize) -> Result<Draft, Problem> {
    let body: DraftBody<'_> = parse_object(body, "a value")?;
    if body.value.get().len() > max_value_bytes {
        return Err(too_large(max_value_bytes));
    }
    bound_depth(body.value)?;
    if let Some(metadata) = body.metadata {
        if !metadata.get().starts_with('{') {
            return Err(Problem::invalid("metadata must be a JSON object"));
        }
        if metadata.get().len() > MAX_METADATA_BYTES {
            return Err(Problem::invalid(format!(
                "metadata is longer than {MAX_METADATA_BYTES} bytes"
            )));
        }
        bound_depth(metadata)?;
    }
    Ok(Draft {
        id,
        value: body.value.to_owned(),
        metadata: body.metadata.map(ToOwned::to_owned),
        ttl_seconds: bound_ttl(body.ttl)?,
    })
}

/// 0 means "no end", as clients write that leave out nothing.
fn bound_ttl(ttl: Option<i64>) -> Result<Option<u32>, Problem> {
    match ttl {
        None | Some(0) => Ok(None),
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds <= MAX_TTL_SECONDS => Ok(Some(seconds)),
            _ => Err(Problem::invalid(format!(
                "ttl is {seconds}, it must be between 0 and {MAX_TTL_SECONDS} seconds"
            ))),
        },
    }
}

/// The text is valid JSON, so brackets outside strings are balanced.
fn bound_depth(json: &RawValue) -> Result<(), Problem> {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.get().bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > MAX_DEPTH {
        return Err(Problem::invalid(format!(
            "the JSON is nested {deepest} levels deep, at most {MAX_DEPTH} are allowed"
        )));
    }
    Ok(())
}

impl Draft {
    /// The record that says this, written now.
    pub(crate) fn into_record(self) -> Record {
        let now = Timestamp::now();
        Record {
            id: self.id,
            content: Content::Value {
                value: self.value,
                metadata: self.metadata,
            },
            created_at: now,
            updated_at: now,
            expires_at: self.ttl_seconds.map(|seconds| now.plus_seconds(seconds)),
            operation_ids: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct KeysBody {
    keys: Vec<String>,
}

impl FromRequest<App> for Keys {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let body = read_body(request, app).await?;
        let KeysBody { keys } = parse_object(&body, "keys")?;
        if keys.is_empty() || keys.len() > MAX_BATCH {
            return Err(Problem::invalid(format!(
                "a batch has 1 to {MAX_BATCH} keys, this one has {}",
                keys.len()
            )));
        }
        let keys = keys.iter().map(|key| key.parse());
        keys.collect::<Result<_, _>>()
            .map(Self)
            .map_err(|error| Problem::invalid(format!("{error}")))
    }
}

/// A missing media type is let pass: existing scripts send none.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = media_type
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || essence.len() > 5 && essence.to_ascii_lowercase().ends_with("+json");
    if json {
        return Ok(());
    }
    Err(
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_REQUEST")
            .detail("the body must be JSON: send Content-Type: application/json"),
    )
}

async fn read_body(request: Request, app: &App) -> Result<Bytes, Problem> {
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

fn too_large(max_value_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST").detail(format!(
        "the value is longer than {max_value_bytes} bytes, which is this cache's limit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> EntryId {
        EntryId {
            instance: InstanceName::global(),
            key: "robin".parse().unwrap(),
        }
    }

    fn refused(body: &str) -> String {
        let problem = parse_draft(id(), body.as_bytes(), 100).map(|_| ()).unwrap_err();
        format!("{problem:?}")
    }

    #[test]
    fn every_json_value_is_a_value() {
        for value in [
            "null",
            "false",
            "0",
            "\"\"",
            "[]",
            "{}",
            "1e400",
            r#""\u0000\ud800""#,
        ] {
            let draft = parse_draft(id(), format!(r#"{{"value": {value} }}"#).as_bytes(), 100).unwrap();
            assert_eq!(draft.value.get(), value);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_why() {
        assert!(refused("{").contains("no JSON object"));
        assert!(refused("[1]").contains("no JSON object"));
        assert!(refused(r#"{"ttl": 1}"#).contains("missing field `value`"));
        assert!(refused(r#"{"value": 1, "ttl": -1}"#).contains("ttl is -1"));
        assert!(refused(r#"{"value": 1, "ttl": 1.5}"#).contains("no JSON object"));
        assert!(refused(r#"{"value": 1, "metadata": []}"#).contains("metadata must be"));
        assert!(refused(&format!(r#"{{"value": "{}"}}"#, "a".repeat(99))).contains("limit"));
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let body = format!(r#"{{"value": {deep}}}"#);
        let problem = parse_draft(id(), body.as_bytes(), usize::MAX)
            .map(|_| ())
            .unwrap_err();
        assert!(format!("{problem:?}").contains("20000 levels"), "{problem:?}");
    }

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        let body = format!(r#"{{"value": "{}\"["}}"#, "[".repeat(150));
        assert!(parse_draft(id(), body.as_bytes(), 1000).is_ok());
    }

    #[test]
    fn a_ttl_of_zero_means_no_end() {
        assert_eq!(bound_ttl(Some(0)).unwrap(), None);
        assert_eq!(bound_ttl(Some(60)).unwrap(), Some(60));
        assert!(bound_ttl(Some(i64::MAX)).is_err());
    }
}
