//! What answers say.

use std::collections::HashMap;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use birbnest_core::{CREATED_AT_OFFSET, EntryId, Version};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    problem::{CACHE_STATUS, Problem},
    read::{Read, Source},
    write::Written,
};

/// Where the write is safe: `queued` in the stream.
const DURABILITY: HeaderName = HeaderName::from_static("birb-durability");

/// An answer about one entry.
pub(crate) struct Answer {
    status: StatusCode,
    version: Option<Version>,
    /// Where the answer comes from, or where the write went.
    provenance: (HeaderName, HeaderValue),
    json: Option<Bytes>,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::with_capacity(4);
        if let Some(version) = self.version {
            headers.insert(header::ETAG, etag(version));
        }
        let (name, value) = self.provenance;
        headers.insert(name, value);
        match self.json {
            Some(json) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                (self.status, headers, json).into_response()
            }
            None => (self.status, headers).into_response(),
        }
    }
}

/// Digits and quotes are always a valid header value.
fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// 200 with the entry, or 404.
pub(crate) fn found(read: Read) -> Result<Answer, Problem> {
    let Some(envelope) = read.found else {
        return Err(Problem::not_found().cache_status(cache_status(read.source)));
    };
    Ok(Answer {
        status: StatusCode::OK,
        version: Some(envelope.version),
        provenance: (CACHE_STATUS, cache_status(read.source)),
        json: Some(envelope.json),
    })
}

fn cache_status(source: Source) -> HeaderValue {
    HeaderValue::from_static(match source {
        Source::Cache => "BirbNest; hit",
        Source::Both => "BirbNest; fwd=miss",
        Source::DatabaseAlone => "BirbNest; fwd=miss; detail=queue-unreachable",
        Source::StreamAlone => "BirbNest; fwd=miss; detail=database-unreachable",
    })
}

/// 201 with the entry, or 202 when its copy in Redis may still be an older one.
pub(crate) fn stored(written: &Written) -> Answer {
    let mut json = written.entry.envelope().unwrap_or_default();
    if let Some(created_at) = &written.created_at {
        let end = CREATED_AT_OFFSET + created_at.len();
        if let Some(place) = json.get_mut(CREATED_AT_OFFSET..end) {
            place.copy_from_slice(created_at.as_bytes());
        }
    }
    Answer {
        status: if written.cached {
            StatusCode::CREATED
        } else {
            StatusCode::ACCEPTED
        },
        version: Some(written.entry.version),
        provenance: (DURABILITY, HeaderValue::from_static("queued")),
        json: Some(json.into()),
    }
}

/// 204: the tombstone is queued, and hides the entry wherever a copy is left.
pub(crate) fn deleted() -> Answer {
    Answer {
        status: StatusCode::NO_CONTENT,
        version: None,
        provenance: (DURABILITY, HeaderValue::from_static("queued")),
        json: None,
    }
}

#[derive(Serialize)]
struct Batch<'a> {
    entries: HashMap<&'a str, &'a RawValue>,
    missing: Vec<&'a str>,
}

/// 200 with what was found and the keys of what was not.
pub(crate) fn batch(reads: &[(EntryId, Read)]) -> Result<Response, Problem> {
    let mut batch = Batch {
        entries: HashMap::with_capacity(reads.len()),
        missing: Vec::new(),
    };
    for (id, read) in reads {
        match &read.found {
            Some(envelope) => {
                let json: &RawValue = serde_json::from_slice(&envelope.json).map_err(|e| unreadable(&e))?;
                batch.entries.insert(id.key.as_str(), json);
            }
            None => batch.missing.push(id.key.as_str()),
        }
    }
    let body = serde_json::to_vec(&batch).map_err(|e| unreadable(&e))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
        .detail("an entry could not be encoded")
        .cause(error)
}
