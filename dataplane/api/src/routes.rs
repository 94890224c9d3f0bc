//! Which handler answers which request.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware,
    response::Response,
    routing::{get, post},
};
use birbnest_core::EntryId;

use crate::{
    app::App,
    limits::{self, Limits},
    problem::Problem,
    request::{Draft, Instance, Keys, Target},
    response::{self, Answer},
};

/// Every route of the cache. The wildcard takes slashes into the key: clients send keys as a raw path.
pub(crate) fn router(app: App, limits: Limits) -> Router {
    let body_limit = app.max_body_bytes();
    Router::new()
        .route("/v1/cache/batch/get", post(get_batch))
        .route(
            "/v1/cache/{*key}",
            get(get_entry).post(put_entry).put(put_entry).delete(delete_entry),
        )
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(Arc::new(limits), limits::admit))
        .with_state(app)
}

async fn get_entry(State(app): State<App>, Target(id): Target) -> Result<Answer, Problem> {
    let read = app.read.get(id).await?;
    response::found(read)
}

/// Stores an entry. `Draft` was parsed and bounded by its extractor.
async fn put_entry(State(app): State<App>, draft: Draft) -> Result<Answer, Problem> {
    let written = app.write.put(draft.into_record()).await?;
    Ok(response::stored(&written))
}

/// Deletes an entry that exists, by a tombstone that goes the way of every write.
async fn delete_entry(State(app): State<App>, Target(id): Target) -> Result<Answer, Problem> {
    if !app.read.exists(&id).await? {
        return Err(Problem::not_found());
    }
    app.write.delete(id).await?;
    Ok(response::deleted())
}

async fn get_batch(
    State(app): State<App>,
    Instance(instance): Instance,
    Keys(keys): Keys,
) -> Result<Response, Problem> {
    let ids = keys
        .into_iter()
        .map(|key| EntryId {
            instance: instance.clone(),
            key,
        })
        .collect();
    let reads = app.read.get_many(ids).await?;
    response::batch(&reads)
}

async fn unknown_route(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND").detail(format!(
        "there is nothing at {}: keys are below /v1/cache/",
        request.uri().path()
    ))
}

async fn unknown_method(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "INVALID_REQUEST").detail(format!(
        "{method} is not supported here: use GET, POST, PUT or DELETE on a key"
    ))
}
