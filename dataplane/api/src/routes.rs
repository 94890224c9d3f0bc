//! Which handler answers which request.

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
    routing::{get, post},
};

use crate::{
    app::App,
    dead_letters, prime,
    problem::Problem,
    request::{Delete, Deletes, Incrementing, Keys, Patching, Put, Puts, Question},
    response::{self, Gathered},
    watermarks,
};

/// What precedes the key in the path of an entry.
pub(crate) const ENTRIES: &str = "/v1/cache/";
/// What the paths of batches begin with, which are no keys.
pub(crate) const BATCHES: &str = "/v1/cache/batch/";

/// Every route of the cache. The wildcard takes slashes into the key: clients send keys as a raw path.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route(&format!("{BATCHES}get"), post(get_batch))
        .route(&format!("{BATCHES}put"), post(put_batch))
        .route(&format!("{BATCHES}delete"), post(delete_batch))
        .route("/v1/increment/{*key}", post(increment))
        .route(
            &format!("{ENTRIES}{{*key}}"),
            get(get_entry)
                .post(put_entry)
                .put(put_entry)
                .delete(delete_entry)
                .patch(patch_entry),
        )
        .merge(dead_letters::router())
        .merge(watermarks::router())
        .merge(prime::router())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .with_state(app)
}

async fn get_entry(State(app): State<App>, question: Question) -> Result<Response, Problem> {
    let read = app.read.get(question.id, question.at_least).await?;
    response::found(read, &question.conditions, &app.budget)
}

/// Stores an entry. `Put` was parsed and bounded by its extractor.
async fn put_entry(State(app): State<App>, Put(order): Put) -> Result<Response, Problem> {
    Ok(response::written(&app.write.write(order).await?, &app.budget))
}

/// Deletes an entry that exists, by a tombstone that goes the way of every write.
async fn delete_entry(State(app): State<App>, Delete(order): Delete) -> Result<Response, Problem> {
    // A delete with conditions looks for itself.
    if order.terms.are_blind() && !app.read.exists(&order.id).await? {
        return Err(Problem::not_found());
    }
    Ok(response::written(&app.write.write(order).await?, &app.budget))
}

async fn patch_entry(State(app): State<App>, Patching(order): Patching) -> Result<Response, Problem> {
    Ok(response::written(&app.write.write(order).await?, &app.budget))
}

async fn increment(State(app): State<App>, Incrementing(order): Incrementing) -> Result<Response, Problem> {
    Ok(response::written(&app.write.write(order).await?, &app.budget))
}

async fn get_batch(State(app): State<App>, Keys(ids): Keys) -> Result<Response, Problem> {
    let mut gathered = Gathered::new(&app.budget);
    let reads = app.read.get_many(ids, |read| gathered.take(read)).await?;
    response::batch(&reads, gathered)
}

async fn put_batch(State(app): State<App>, Puts(orders): Puts) -> Result<Response, Problem> {
    let ids: Vec<_> = orders.iter().map(|order| order.id.clone()).collect();
    let written = app.write.write_many(orders).await;
    response::results(&ids.into_iter().zip(written).collect::<Vec<_>>())
}

async fn delete_batch(State(app): State<App>, Deletes(orders): Deletes) -> Result<Response, Problem> {
    let ids: Vec<_> = orders.iter().map(|order| order.id.clone()).collect();
    let reads = app.read.get_many(ids, |read| Ok(read.found.is_some())).await?;
    let (there, absent): (Vec<_>, Vec<_>) = reads
        .into_iter()
        .zip(orders)
        .partition(|((_, is_there), _)| *is_there);
    let (ids, orders): (Vec<_>, Vec<_>) = there.into_iter().map(|((id, _), order)| (id, order)).unzip();
    let written = app.write.write_many(orders).await;
    let absent = absent
        .into_iter()
        .map(|((id, _), _)| (id, Err(Problem::not_found())));
    response::results(&ids.into_iter().zip(written).chain(absent).collect::<Vec<_>>())
}

async fn unknown_route(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND").detail(format!(
        "there is nothing at {}: keys are below /v1/cache/",
        request.uri().path()
    ))
}

async fn unknown_method(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "INVALID_REQUEST").detail(format!(
        "{method} is not supported here: use GET, POST, PUT, PATCH or DELETE on a key"
    ))
}
