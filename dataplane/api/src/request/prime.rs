//! What is to be loaded into Redis, within bounds.

use axum::extract::{FromRequest, Request};
use birbnest_core::{
    InstanceName, MAX_KEY_CHARS,
    config::{MOST_PRIMED, PrimeConfig, PrimeOrder},
};
use birbnest_stores::postgres::PrimeOrders;
use serde::Deserialize;

use super::body::{parse_object, read_body, require_json};
use crate::{app::App, problem::Problem};

/// A request to prime the cache.
pub(crate) struct Prime(pub(crate) PrimeOrders);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    instance: Option<String>,
    prefix: Option<String>,
    limit: Option<u32>,
    order: Option<PrimeOrder>,
}

impl FromRequest<App> for Prime {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let body = read_body(request, app).await?;
        let body: Body = parse_object(&body.bytes, "instance, prefix, limit or order")?;
        body.orders().map(Self)
    }
}

impl Body {
    fn orders(self) -> Result<PrimeOrders, Problem> {
        let standard = PrimeConfig::default();
        Ok(PrimeOrders {
            instance: instance(self.instance)?,
            prefix: bound_prefix(self.prefix.unwrap_or_default())?,
            limit: bound_limit(self.limit.unwrap_or(standard.limit))?,
            order: self.order.unwrap_or(standard.order),
        })
    }
}

fn instance(name: Option<String>) -> Result<InstanceName, Problem> {
    let Some(name) = name else {
        return Ok(InstanceName::global());
    };
    name.parse()
        .map_err(|error| Problem::invalid(format!("instance: {error}")))
}

fn bound_prefix(prefix: String) -> Result<String, Problem> {
    let chars = prefix.chars().count();
    if chars > MAX_KEY_CHARS {
        return Err(Problem::invalid(format!(
            "prefix has {chars} characters, at most {MAX_KEY_CHARS} are allowed"
        )));
    }
    match prefix.chars().find(|c| c.is_control()) {
        Some(control) => Err(Problem::invalid(format!(
            "prefix contains the control character {control:?}, which no key does"
        ))),
        None => Ok(prefix),
    }
}

fn bound_limit(limit: u32) -> Result<u32, Problem> {
    if limit == 0 || limit > MOST_PRIMED {
        return Err(Problem::invalid(format!(
            "limit is {limit}, it must be between 1 and {MOST_PRIMED}"
        )));
    }
    Ok(limit)
}
