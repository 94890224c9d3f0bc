//! The administrator's way to load entries into Redis before anybody asks for them. The worker that leads does it.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use birbnest_core::config::PrimeOrder;
use birbnest_stores::postgres::{Postgres, PostgresError, PrimeRequest};
use serde::Serialize;

use crate::{app::App, problem::Problem, request::Prime};

const PATH: &str = "/v1/admin/prime";

/// The routes.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route(PATH, post(request))
        .route(&format!("{PATH}/{{id}}"), get(inspect))
}

/// Where requests wait. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Priming {
    pub(crate) postgres: Postgres,
}

/// A request, and how far it is.
#[derive(Serialize)]
struct Progress {
    id: i64,
    /// `pending`, `done` or `failed`.
    state: &'static str,
    instance: String,
    prefix: String,
    limit: u32,
    order: PrimeOrder,
    automatic: bool,
    examined: u32,
    filled: u32,
    requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl From<PrimeRequest> for Progress {
    fn from(request: PrimeRequest) -> Self {
        let orders = request.orders;
        Self {
            id: request.id,
            state: match (&request.finished_at, &request.failure) {
                (None, _) => "pending",
                (Some(_), None) => "done",
                (Some(_), Some(_)) => "failed",
            },
            instance: orders.instance.as_str().to_owned(),
            prefix: orders.prefix,
            limit: orders.limit,
            order: orders.order,
            automatic: request.automatic,
            examined: request.examined,
            filled: request.filled,
            requested_at: request.requested_at.to_string(),
            finished_at: request.finished_at.map(|at| at.to_string()),
            failure: request.failure,
        }
    }
}

async fn request(State(app): State<App>, Prime(orders): Prime) -> Result<Response, Problem> {
    let made = app.priming.postgres.request_prime(&orders, false).await;
    let id = made.map_err(|error| unavailable(&error))?.ok_or_else(|| {
        Problem::unavailable("too many requests to prime the cache wait already: nothing was noted")
    })?;
    let location = [(header::LOCATION, format!("{PATH}/{id}"))];
    Ok((StatusCode::ACCEPTED, location, progress(&app, id).await?).into_response())
}

async fn inspect(
    State(app): State<App>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Progress>, Problem> {
    let Path(id) = id.map_err(|_| Problem::invalid("the id of a request is a number"))?;
    progress(&app, id).await
}

async fn progress(app: &App, id: i64) -> Result<Json<Progress>, Problem> {
    let found = app.priming.postgres.prime_request(id).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let found = found.ok_or_else(|| {
        Problem::not_found().detail("there is no request with this id, or it ended a day ago or more")
    })?;
    Ok(Json(found.into()))
}

fn unavailable(error: &PostgresError) -> Problem {
    Problem::unavailable("the database is not reachable, where requests to prime the cache wait").cause(error)
}
