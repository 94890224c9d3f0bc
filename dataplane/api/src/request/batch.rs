//! Bodies about several keys.

use std::{collections::HashSet, sync::Arc};

use axum::extract::{FromRequest, FromRequestParts, Request};
use birbnest_core::{EntryId, EntryKey, InstanceName, Share};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Instance,
    body::{parse_object, read_body, require_json},
    draft::parse_draft,
};
use crate::{app::App, change::Change, problem::Problem, terms::Terms, write::Order};

/// Most keys in one batch.
const MAX_BATCH: usize = 100;

/// The keys of a batch, in the order asked.
pub(crate) struct Keys(pub(crate) Vec<EntryId>);

/// Entries to be written, in the order sent.
pub(crate) struct Puts(pub(crate) Vec<Order>);

/// Entries to be deleted, in the order sent.
pub(crate) struct Deletes(pub(crate) Vec<Order>);

#[derive(Deserialize)]
struct KeysBody {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct EntriesBody<'a> {
    #[serde(borrow)]
    entries: Members<'a>,
}

/// The members of an object, in their order and with those that occur twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of keys and entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

impl FromRequest<App> for Keys {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Instance(instance) = Instance::from_request_parts(&mut parts, app).await?;
        require_json(&parts.headers)?;
        let body = read_body(Request::from_parts(parts, body), app).await?;
        let KeysBody { keys } = parse_object(&body.bytes, "keys")?;
        bound_batch(keys.len())?;
        let ids = keys.iter().map(|key| id(&instance, key));
        ids.collect::<Result<_, _>>().map(Self)
    }
}

impl FromRequest<App> for Puts {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Instance(instance) = Instance::from_request_parts(&mut parts, app).await?;
        let terms = terms(&mut parts, app).await?;
        require_json(&parts.headers)?;
        let body = read_body(Request::from_parts(parts, body), app).await?;
        let EntriesBody {
            entries: Members(entries),
        } = parse_object(&body.bytes, "entries")?;
        bound_batch(entries.len())?;
        refuse_twins(entries.iter().map(|(key, _)| key.as_str()))?;
        let orders = entries.into_iter().map(|(key, entry)| {
            let draft = parse_draft(entry.get().as_bytes(), app.max_value_bytes)
                .map_err(|problem| problem.about(&key))?;
            let held = Some(Arc::clone(&body.held));
            Ok(order(id(&instance, &key)?, Change::Put(draft), &terms, held))
        });
        orders.collect::<Result<_, _>>().map(Self)
    }
}

impl FromRequest<App> for Deletes {
    type Rejection = Problem;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let terms = terms(&mut parts, app).await?;
        request = Request::from_parts(parts, body);
        let Keys(ids) = Keys::from_request(request, app).await?;
        refuse_twins(ids.iter().map(|id| id.key.as_str()))?;
        let orders = ids.into_iter().map(|id| order(id, Change::Delete, &terms, None));
        Ok(Self(orders.collect()))
    }
}

/// One `Idempotency-Key` or condition cannot speak for many entries.
async fn terms(parts: &mut axum::http::request::Parts, app: &App) -> Result<Terms, Problem> {
    let terms = Terms::from_request_parts(parts, app).await?;
    if terms.are_blind() {
        return Ok(terms);
    }
    Err(Problem::invalid(
        "a batch takes no conditions and no Idempotency-Key: they belong to one entry",
    ))
}

fn order(id: EntryId, change: Change, terms: &Terms, held: Option<Arc<Share>>) -> Order {
    Order {
        id,
        change,
        terms: terms.clone(),
        held,
    }
}

fn id(instance: &InstanceName, key: &str) -> Result<EntryId, Problem> {
    let key: EntryKey = key
        .parse()
        .map_err(|error| Problem::invalid(format!("{error}")))?;
    Ok(EntryId {
        instance: instance.clone(),
        key,
    })
}

fn bound_batch(keys: usize) -> Result<(), Problem> {
    if (1..=MAX_BATCH).contains(&keys) {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "a batch has 1 to {MAX_BATCH} keys, this one has {keys}"
    )))
}

/// Two writes of one key at the same time would have no order.
fn refuse_twins<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(Problem::invalid("a key occurs twice in the batch").about(key));
        }
    }
    Ok(())
}
