//! What answers say.

use std::collections::HashMap;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use birbnest_core::{Budget, CREATED_AT_OFFSET, Content, Durability, EntryId, Share, Version, counted};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    conditions::Conditions,
    problem::{Body, CACHE_STATUS, Problem},
    read::Read,
    request::short_of_memory,
    sources::Source,
    write::Written,
};

/// Bytes of an answer that are not worth counting.
const SMALL: usize = 16 << 10;
/// Part of the budget that the entries of one batch may take.
const LARGEST_BATCH: usize = 4;
/// Bytes of a batch's answer beside an entry: its key and punctuation, mostly.
const BESIDE_ENTRY: usize = 64;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How safe a write is.
const DURABILITY: HeaderName = HeaderName::from_static("birb-durability");

/// The version of a write, also of a delete, for `Birb-Min-Version`.
const VERSION: HeaderName = HeaderName::from_static("birb-version");
/// Whether a write had been made before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The preference that was followed (RFC 7240).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// 200 with the entry, 304 when the client has this version, or 404.
pub(crate) fn found(read: Read, conditions: &Conditions, budget: &Budget) -> Result<Response, Problem> {
    let status = cache_status(read.source);
    let Some(envelope) = read.found else {
        conditions.admit_read(None)?;
        return Err(Problem::not_found().cache_status(status));
    };
    conditions.admit_read(Some(envelope.version))?;
    let is_known = conditions.is_known(envelope.version);
    let body = if is_known {
        axum::body::Body::empty()
    } else {
        held(envelope.json, budget)?.into()
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // These, the request's id, and perhaps its instance.
    headers.reserve(5);
    headers.insert(header::ETAG, etag(envelope.version));
    headers.insert(CACHE_STATUS, status);
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    Ok(response)
}

/// The answer's bytes, which count until the client has taken them. Small ones are let pass: a connection has one at a
/// time, and connections are counted.
fn held(json: Bytes, budget: &Budget) -> Result<Bytes, Problem> {
    if json.len() <= SMALL {
        return Ok(json);
    }
    let mut share = budget.share();
    if share.try_grow(json.len()) {
        Ok(counted(json, share))
    } else {
        Err(short_of_memory())
    }
}

/// Digits and quotes are always a valid header value.
fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn cache_status(source: Source) -> HeaderValue {
    HeaderValue::from_static(match source {
        Source::Cache => "BirbNest; hit",
        Source::Both => "BirbNest; fwd=miss",
        Source::DatabaseAlone => "BirbNest; fwd=miss; detail=queue-unreachable",
        Source::StreamAlone => "BirbNest; fwd=miss; detail=database-unreachable",
    })
}

/// 201 with the entry; 202 when it is less safe than was wanted, or when its copy in Redis may still be an older one; 200
/// when the write had been made before; 204 when nothing is there any more.
pub(crate) fn written(written: &Written, budget: &Budget) -> Response {
    let headers = provenance(written);
    let Some(mut json) = written.entry.envelope() else {
        return (StatusCode::NO_CONTENT, headers).into_response();
    };
    if let Some(created_at) = &written.created_at {
        let end = CREATED_AT_OFFSET + created_at.len();
        if let Some(place) = json.get_mut(CREATED_AT_OFFSET..end) {
            place.copy_from_slice(created_at.as_bytes());
        }
    }
    let entry = [
        (header::ETAG, etag(written.entry.version)),
        (header::CONTENT_TYPE, JSON),
    ];
    // The write was made: it is too late for a refusal.
    let mut share = budget.share();
    share.grow(json.len());
    (status(written), headers, entry, counted(json, share)).into_response()
}

fn status(written: &Written) -> StatusCode {
    match written {
        Written { replayed: true, .. } => StatusCode::OK,
        written if written.cached && written.durability >= written.wanted => StatusCode::CREATED,
        _ => StatusCode::ACCEPTED,
    }
}

/// Which write it was, and how safe it is.
fn provenance(written: &Written) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(VERSION, HeaderValue::from(written.entry.version.get()));
    headers.insert(DURABILITY, HeaderValue::from_static(written.durability.as_str()));
    if written.durability == Durability::Persisted {
        headers.insert(
            PREFERENCE_APPLIED,
            HeaderValue::from_static("durability=persisted"),
        );
    }
    if written.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

#[derive(Serialize)]
struct Batch<'a> {
    entries: HashMap<&'a str, &'a RawValue>,
    missing: Vec<&'a str>,
}

/// What a batch has found so far.
pub(crate) struct Gathered {
    share: Share,
    bytes: usize,
    most: usize,
}

impl Gathered {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            share: budget.share(),
            bytes: 0,
            most: budget.most() / LARGEST_BATCH,
        }
    }

    /// Takes a read in, unless it makes the answer too long. One entry is never too long.
    pub(crate) fn take(&mut self, read: Read) -> Result<Read, Problem> {
        let bytes = read.found.as_ref().map_or(0, |found| found.json.len());
        if self.bytes > 0 && self.bytes + bytes > self.most {
            return Err(too_long(self.most));
        }
        // Twice: as what was found, and as the answer.
        if !self.share.try_grow(2 * bytes) {
            return Err(short_of_memory());
        }
        self.bytes += bytes;
        Ok(read)
    }
}

fn too_long(most: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST").detail(format!(
        "these entries are longer than {most} bytes together: ask for fewer keys at once"
    ))
}

/// 200 with what was found and the keys of what was not.
pub(crate) fn batch(reads: &[(EntryId, Read)], gathered: Gathered) -> Result<Response, Problem> {
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
    let Gathered { mut share, bytes, .. } = gathered;
    let mut body = Vec::with_capacity(bytes + reads.len() * BESIDE_ENTRY);
    serde_json::to_writer(&mut body, &batch).map_err(|e| unreadable(&e))?;
    share.shrink(bytes);
    Ok(([(header::CONTENT_TYPE, JSON)], counted(body, share)).into_response())
}

#[derive(Serialize)]
struct Results<'a> {
    results: HashMap<&'a str, Outcome<'a>>,
}

/// What became of one write of a batch.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Written {
        status: u16,
        version: u64,
        durability: Durability,
    },
    Failed(Body<'a>),
}

impl<'a> From<&'a Result<Written, Problem>> for Outcome<'a> {
    fn from(result: &'a Result<Written, Problem>) -> Self {
        match result {
            Ok(written) => Self::Written {
                status: match written.entry.record.content {
                    Content::Tombstone => StatusCode::NO_CONTENT,
                    Content::Value { .. } => status(written),
                }
                .as_u16(),
                version: written.entry.version.get(),
                durability: written.durability,
            },
            Err(problem) => Self::Failed(problem.body()),
        }
    }
}

/// 200 with the outcome of every write: some may have failed.
pub(crate) fn results(results: &[(EntryId, Result<Written, Problem>)]) -> Result<Response, Problem> {
    let results = results
        .iter()
        .map(|(id, result)| (id.key.as_str(), result.into()));
    let body = Results {
        results: results.collect(),
    };
    let body = serde_json::to_vec(&body).map_err(|e| unreadable(&e))?;
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
        .detail("an entry could not be encoded")
        .cause(error)
}
