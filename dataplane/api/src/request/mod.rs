//! What requests say, parsed and bounded before any handler sees it.

mod batch;
mod body;
mod bounds;
mod draft;
mod prime;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, request::Parts},
};
use birbnest_core::{EntryId, InstanceName, Version};

use crate::{
    app::App,
    arithmetic::Increment,
    change::Change,
    conditions::{Conditions, min_version},
    patch::Patch,
    problem::Problem,
    terms::Terms,
    write::Order,
};
use body::{media_type, parse_object, read_body, require_json};
use draft::parse_draft;

pub(crate) use batch::{Deletes, Keys, Puts};
pub(crate) use body::short_of_memory;
pub(crate) use bounds::{bound_ttl, bound_value};
pub(crate) use prime::Prime;

/// The header that names a namespace of keys.
pub(crate) const INSTANCE_HEADER: &str = "x-instance-id";

/// The instance that a request names, `global` when it names none.
pub(crate) struct Instance(pub(crate) InstanceName);

/// The entry that a request is about.
pub(crate) struct Target(pub(crate) EntryId);

/// A request to read an entry.
pub(crate) struct Question {
    pub(crate) id: EntryId,
    pub(crate) at_least: Version,
    pub(crate) conditions: Conditions,
}

/// A request to store an entry.
pub(crate) struct Put(pub(crate) Order);

/// A request to delete an entry.
pub(crate) struct Delete(pub(crate) Order);

/// A request to change a value.
pub(crate) struct Patching(pub(crate) Order);

/// A request to add to a number.
pub(crate) struct Incrementing(pub(crate) Order);

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
        match key.parse() {
            Ok(key) => Ok(Self(EntryId { instance, key })),
            Err(error) => Err(Problem::invalid(error.to_string())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Question {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Target(id) = Target::from_request_parts(parts, state).await?;
        Ok(Self {
            id,
            at_least: min_version(&parts.headers)?,
            conditions: Conditions::of(&parts.headers)?,
        })
    }
}

impl FromRequest<App> for Put {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let order = order(request, app, require_json, |(), body| {
            Ok(Change::Put(parse_draft(body, app.max_value_bytes)?))
        });
        order.await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Delete {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (id, terms) = target_and_terms(parts, state).await?;
        let (change, held) = (Change::Delete, None);
        Ok(Self(Order {
            id,
            change,
            terms,
            held,
        }))
    }
}

impl FromRequest<App> for Patching {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let order = order(
            request,
            app,
            |headers| Ok(media_type(headers)),
            |media_type, body| {
                Ok(Change::Patch(Patch::parse(
                    &media_type,
                    body,
                    app.max_value_bytes,
                )?))
            },
        );
        order.await.map(Self)
    }
}

impl FromRequest<App> for Incrementing {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let order = order(request, app, require_json, |(), body| {
            let body = if body.is_empty() { b"{}" } else { body };
            let increment: Increment = parse_object(body, "by, initial or ttl")?;
            bound_ttl(increment.ttl)?;
            Ok(Change::Increment(increment))
        });
        order.await.map(Self)
    }
}

/// A request whose change is in its body. What its headers say is looked at first, so that a body that is not wanted is
/// not read.
async fn order<M>(
    request: Request,
    app: &App,
    look: impl FnOnce(&HeaderMap) -> Result<M, Problem>,
    parse: impl FnOnce(M, &[u8]) -> Result<Change, Problem>,
) -> Result<Order, Problem> {
    let (mut parts, body) = request.into_parts();
    let (id, terms) = target_and_terms(&mut parts, app).await?;
    let media = look(&parts.headers)?;
    let body = read_body(Request::from_parts(parts, body), app).await?;
    let change = parse(media, &body.bytes)?;
    let held = Some(body.held);
    Ok(Order {
        id,
        change,
        terms,
        held,
    })
}

async fn target_and_terms<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<(EntryId, Terms), Problem> {
    let Target(id) = Target::from_request_parts(parts, state).await?;
    let terms = Terms::from_request_parts(parts, state).await?;
    Ok((id, terms))
}
