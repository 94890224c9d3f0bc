//! A screen: the way of a write, from the API to PostgreSQL.

use std::fmt::Write;

use birbnest_crds::{BirbNest, BirbNestStatus};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::{http_api::HttpApi, nests};

/// A line for each nest of a namespace.
pub(crate) async fn of_all(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let nests = nests::list(client, namespace).await?;
    if nests.is_empty() {
        return Ok(format!("there is no BirbNest in the namespace {namespace}\n"));
    }
    let lines = nests.iter().map(|nest| {
        let status = nest.status.clone().unwrap_or_default();
        let waiting = status.queue.as_ref().map_or(0, |queue| queue.depth);
        format!(
            "{:<40} {:<12} {waiting:>9} queued\n",
            nest.name_any(),
            readiness(&status)
        )
    });
    Ok(lines.collect())
}

/// The screen of one nest.
pub(crate) async fn of(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    let nest = nests::read(client, namespace, name).await?;
    // What the pods say is worth much, and the rest is worth something without it.
    let health = HttpApi::of(client, &nest).get("/health").await;
    screen(&nest, health.as_ref().map_err(ToString::to_string))
}

fn screen(nest: &BirbNest, health: Result<&Value, String>) -> anyhow::Result<String> {
    let status = nest.status.clone().unwrap_or_default();
    let mut screen = String::new();
    let endpoint = status.endpoint.clone().unwrap_or_default();
    writeln!(
        screen,
        "{}/{}  {}  {endpoint}",
        nest.namespace().unwrap_or_default(),
        nest.name_any(),
        readiness(&status)
    )?;
    let api = status.api.clone().unwrap_or_default();
    writeln!(screen, "  API         {} of {} ready", api.ready, api.desired)?;
    match health {
        Ok(health) => backends(&mut screen, health)?,
        Err(reason) => writeln!(screen, "              its health cannot be asked: {reason}")?,
    }
    queue(&mut screen, &status)?;
    let workers = status.workers.clone().unwrap_or_default();
    writeln!(
        screen,
        "  workers     {} of {} ready: {}",
        workers.ready, workers.desired, workers.reason
    )?;
    let schema = status.schema_version.map_or_else(
        || "no schema yet".to_owned(),
        |version| format!("schema {version}"),
    );
    writeln!(screen, "  PostgreSQL  {schema}")?;
    for of in &status.persisted_through {
        let version = of
            .version
            .map_or_else(|| "not known".to_owned(), |version| version.to_string());
        writeln!(
            screen,
            "              partition {}: persisted through version {version}",
            of.partition
        )?;
    }
    troubles(&mut screen, &status)?;
    Ok(screen)
}

fn readiness(status: &BirbNestStatus) -> String {
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => "ready".to_owned(),
        Some(ready) => format!("not ready ({})", ready.reason),
        None => "not looked at yet".to_owned(),
    }
}

fn backends(screen: &mut String, health: &Value) -> anyhow::Result<()> {
    for (backend, check) in health["checks"].as_object().into_iter().flatten() {
        let told = check.as_str().map_or_else(|| check.to_string(), str::to_owned);
        writeln!(screen, "              {backend}: {told}")?;
    }
    Ok(())
}

fn queue(screen: &mut String, status: &BirbNestStatus) -> anyhow::Result<()> {
    let Some(queue) = &status.queue else {
        writeln!(screen, "  queue       not known")?;
        return Ok(());
    };
    let oldest = queue
        .oldest_age_seconds
        .map(|age| format!(", the oldest for {age} s"));
    writeln!(
        screen,
        "  queue       {} waiting{}; {} a second come, {} a second are persisted",
        queue.depth,
        oldest.unwrap_or_default(),
        queue.arrival_per_second,
        queue.service_per_second,
    )?;
    Ok(())
}

/// Conditions that say that something is the matter.
fn troubles(screen: &mut String, status: &BirbNestStatus) -> anyhow::Result<()> {
    for condition in &status.conditions {
        let bad = if matches!(condition.type_.as_str(), "Reconciling" | "Stalled") {
            "True"
        } else {
            "False"
        };
        if condition.status == bad {
            writeln!(
                screen,
                "! {} {}: {}",
                condition.type_, condition.reason, condition.message
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_follows_a_write_and_names_what_is_the_matter() {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({ "type": kind, "status": status, "reason": reason, "message": "do this",
                "lastTransitionTime": "2026-01-02T03:04:05Z" })
        };
        let nest = json!({
            "apiVersion": "birbnest.dev/v1alpha1",
            "kind": "BirbNest",
            "metadata": { "name": "prices", "namespace": "shop" },
            "spec": { "redis": { "managed": {} }, "nats": { "managed": {} }, "postgres": { "managed": {} } },
            "status": {
                "conditions": [
                    condition("Ready", "True", "AllReady"),
                    condition("Stalled", "False", "Progressing"),
                    condition("DurabilityReady", "False", "SingleCopy"),
                ],
                "api": { "ready": 2, "desired": 2 },
                "queue": { "depth": 12, "oldestAgeSeconds": 1, "arrivalPerSecond": 310, "servicePerSecond": 320 },
                "workers": { "ready": 1, "desired": 1, "reason": "enough" },
                "schemaVersion": 7,
                "persistedThrough": [{ "partition": 0, "epoch": 1, "sequence": 4, "version": 99 }],
                "endpoint": "http://prices-api.shop.svc",
            },
        });
        let nest = serde_json::from_value(nest).unwrap();
        let health = json!({ "status": "degraded", "checks": { "redis": "ok", "nats": "no connection" } });
        let screen = screen(&nest, Ok(&health)).unwrap();
        let expected = "shop/prices  ready  http://prices-api.shop.svc
  API         2 of 2 ready
              nats: no connection
              redis: ok
  queue       12 waiting, the oldest for 1 s; 310 a second come, 320 a second are persisted
  workers     1 of 1 ready: enough
  PostgreSQL  schema 7
              partition 0: persisted through version 99
! DurabilityReady SingleCopy: do this
";
        assert_eq!(screen, expected);
    }
}
