//! The administrator's view of the writes that PostgreSQL rejects: what waits, why, and what becomes of it.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use birbnest_core::{Content, Entry, Version};
use birbnest_stores::{
    jetstream::{DeadLetter, DeadLetters, Log, ReadError, Waiting},
    postgres::Postgres,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{app::App, problem::Problem, response};

const PATH: &str = "/v1/admin/dead-letters";
/// Letters of one page, if the request does not say.
const DEFAULT_LIMIT: usize = 20;
/// Each is a request to the stream.
const MOST_LIMIT: usize = 100;

/// The routes.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route(PATH, get(list))
        .route(&format!("{PATH}/{{id}}"), get(inspect).delete(discard))
        .route(&format!("{PATH}/{{id}}/replay"), post(replay))
}

/// Where letters wait: the stream holds them, PostgreSQL notes their keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Letters {
    log: Log,
    postgres: Postgres,
}

impl Letters {
    pub(crate) fn new(log: Log, postgres: Postgres) -> Self {
        Self { log, postgres }
    }

    fn stream(&self) -> Result<DeadLetters, Problem> {
        self.log.dead_letters().map_err(|reason| unreadable(&reason))
    }

    /// The letter with this id.
    pub(crate) async fn get(&self, id: u64) -> Result<Waiting, Problem> {
        let found = self.stream()?.get(id).await?;
        found.ok_or_else(|| Problem::not_found().detail("there is no dead letter with this id"))
    }

    /// Removes a letter. First what PostgreSQL notes: a letter that stays behind without its note is replayed only where
    /// that is certain to overwrite nothing.
    pub(crate) async fn remove(&self, waiting: &Waiting) -> Result<(), Problem> {
        if let Ok(Some(entry)) = waiting.letter.entry() {
            let forgotten = self
                .postgres
                .forget_dead_letter(&entry.record.id, entry.version)
                .await;
            forgotten.map_err(|error| {
                Problem::unavailable("the database is not reachable, the dead letter stays").cause(&error)
            })?;
        }
        Ok(self.stream()?.remove(waiting.id).await?)
    }
}

#[derive(Deserialize)]
struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct List {
    dead_letters: Vec<Summary>,
    /// How many there are in all.
    waiting: u64,
    /// Where the next page starts, if this one is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// A letter without its value.
#[derive(Serialize)]
struct Summary {
    id: u64,
    /// Absent, like the instance, when nobody can read the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
    attempts: u32,
    time: String,
    partition: u16,
    /// Where it was in the stream of the writes, for the workers' logs.
    sequence: u64,
}

/// A letter with all that it says.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<Write>,
    /// The message as text, when nobody can read it as a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

/// The write that was rejected.
#[derive(Serialize)]
struct Write {
    tombstone: bool,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

impl Summary {
    fn of(id: u64, letter: &DeadLetter, entry: Option<&Entry>) -> Self {
        Self {
            id,
            key: entry.map(|entry| entry.record.id.key.to_string()),
            instance: entry.map(|entry| entry.record.id.instance.as_str().to_owned()),
            version: letter.version.map(Version::get),
            reason: letter.reason.clone(),
            sqlstate: letter.sqlstate.clone(),
            attempts: letter.attempts,
            time: letter.time.to_string(),
            partition: letter.partition.0,
            sequence: letter.sequence,
        }
    }
}

impl From<Entry> for Write {
    fn from(entry: Entry) -> Self {
        let record = entry.record;
        let (value, metadata) = match record.content {
            Content::Value { value, metadata } => (Some(value), metadata),
            Content::Tombstone => (None, None),
        };
        Self {
            tombstone: value.is_none(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            expires_at: record.expires_at.map(|end| end.to_string()),
            metadata,
            value,
        }
    }
}

async fn list(
    State(app): State<App>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<List>, Problem> {
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MOST_LIMIT {
        return Err(Problem::invalid(format!(
            "limit is {limit}, it must be between 1 and {MOST_LIMIT}"
        )));
    }
    let letters = app.letters.stream()?;
    let mut list = List {
        dead_letters: Vec::new(),
        waiting: letters.count().await?,
        next: None,
    };
    let mut after = page.after.unwrap_or(0);
    while list.dead_letters.len() < limit {
        let Some(Waiting { id, letter }) = letters.next(after).await? else {
            return Ok(Json(list));
        };
        let entry = letter.entry().ok().flatten();
        list.dead_letters.push(Summary::of(id, &letter, entry.as_ref()));
        after = id;
    }
    list.next = Some(after);
    Ok(Json(list))
}

async fn inspect(
    State(app): State<App>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Whole>, Problem> {
    let Waiting { id, letter } = app.letters.get(parsed(id)?).await?;
    let entry = letter.entry().ok().flatten();
    let payload = entry
        .is_none()
        .then(|| String::from_utf8_lossy(&letter.payload).into_owned());
    Ok(Json(Whole {
        summary: Summary::of(id, &letter, entry.as_ref()),
        write: entry.map(Write::from),
        payload,
    }))
}

/// Writes it again, unless something newer would be overwritten.
async fn replay(State(app): State<App>, id: Result<Path<u64>, PathRejection>) -> Result<Response, Problem> {
    let written = app.replay.run(parsed(id)?).await?;
    Ok(response::written(&written, &app.budget))
}

async fn discard(
    State(app): State<App>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let waiting = app.letters.get(parsed(id)?).await?;
    app.letters.remove(&waiting).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parsed(id: Result<Path<u64>, PathRejection>) -> Result<u64, Problem> {
    id.map(|Path(id)| id)
        .map_err(|_| Problem::invalid("the id of a dead letter is a number"))
}

fn unreadable(cause: &impl ToString) -> Problem {
    Problem::unavailable("the dead letters cannot be read: the queue is not reachable").cause(cause)
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        unreadable(&error)
    }
}
