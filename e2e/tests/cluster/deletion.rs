//! A nest is deleted: what stays, what goes, and what is waited for.

use std::{collections::BTreeMap, time::Duration};

use birbnest_e2e::{
    cluster::{Nest, condition_of, story},
    load::fill,
    table::Table,
    wait::{eventually, eventually_within, seen},
};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::small;

#[tokio::test]
async fn with_retain_children_go_and_the_data_stays() {
    story("retain", async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest("kept", &small()).await;
        nest.until_ready().await;
        let written = nest.client().await.put("robin", json!(1)).await.expect(201);
        backends.table().until_row("robin", |_| true).await;
        let before = delete(&nest).await;
        until_gone(&nest, &before).await;
        let streams = streams(&backends.nats.jetstream().await).await;
        let kept = ["dead", "persist_0", "persist_1", "persist_2", "persist_3"];
        assert_eq!(
            streams,
            kept.map(|name| format!("cache_{}_kept_{name}", space.name))
        );
        let row = backends.table().row("robin").await.unwrap().unwrap();
        assert_eq!(row.version.cast_unsigned(), written.version());

        // The same nest, applied again, finds everything; versions go on where they were.
        let again = space.apply_nest("kept", &small()).await;
        again.until_ready().await;
        let client = again.client().await;
        assert_eq!(client.get("robin").await.expect(200).version(), written.version());
        assert!(client.put("robin", json!(2)).await.expect(201).version() > written.version());
        let before = delete(&again).await;
        until_gone(&again, &before).await;
        space.until_deleted().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_delete_the_queue_is_drained_first_and_then_the_data_go() {
    story("delete", async |space| {
        let backends = space.backends().await;
        let mut spec = small();
        spec["deletionPolicy"] = json!("Delete");
        let nest = space.apply_nest("gone", &spec).await;
        nest.until_ready().await;
        backends.postgres.run(KEEP_A_COPY).await;
        backends.postgres.stop().await;
        let ledger = fill(&nest.client().await, 0..2_000, 16).await;
        assert_eq!(ledger.failures, Vec::<String>::new());
        space.apply::<StatefulSet>(&of_somebody_else("gone-redis")).await;

        let before = delete(&nest).await;
        let waiting = until_waiting(&nest, "2000 queued writes").await;
        eprintln!("while deleting: {waiting}");
        let jetstream = backends.nats.jetstream().await;
        let kept = streams(&jetstream).await.len();
        assert_eq!(kept, 5, "nothing goes before it is drained");

        backends.postgres.start().await;
        until_gone(&nest, &before).await;
        assert_eq!(streams(&jetstream).await, Vec::<String>::new());
        assert!(backends.table().count().await.is_err(), "the table is dropped");
        let spared = space.api::<StatefulSet>().get("gone-redis").await;
        assert!(spared.is_ok_and(|set| set.metadata.deletion_timestamp.is_none()));
        let drained = Table::new(&backends.postgres.url(), "copies").rows().await;
        assert_eq!(ledger.check(&drained), Ok(()));
        space.until_deleted().await;
    })
    .await;
}

/// What a nest that runs its own Redis would have under this name.
fn of_somebody_else(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": name },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "redis", "image": "redis" }] },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_changes_to_retain_while_it_waits_keeps_the_data() {
    story("regret", async |space| {
        let backends = space.backends().await;
        let mut spec = small();
        spec["deletionPolicy"] = json!("Delete");
        let nest = space.apply_nest("dear", &spec).await;
        nest.until_ready().await;
        backends.postgres.stop().await;
        let ledger = fill(&nest.client().await, 0..10, 1).await;
        assert_eq!(ledger.failures, Vec::<String>::new());
        let before = delete(&nest).await;
        until_waiting(&nest, "10 queued writes").await;
        nest.patch(json!({ "spec": { "deletionPolicy": "Retain" } }))
            .await;
        until_gone(&nest, &before).await;
        let jetstream = backends.nats.jetstream().await;
        let mut kept = 0;
        for stream in streams(&jetstream).await {
            let stream = jetstream.get_stream(stream).await.unwrap();
            kept += stream.cached_info().state.messages;
        }
        assert_eq!(kept, 10);
        nest.until_event("what it leaves", |reason, note| {
            reason == "DataLeftBehind" && note.contains("spec.deletionPolicy is Retain")
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_changes_to_retain_before_the_schema_is_dropped_keeps_it() {
    story("late-regret", async |space| {
        let backends = space.backends().await;
        let mut spec = small();
        spec["deletionPolicy"] = json!("Delete");
        let nest = space.apply_nest("dear", &spec).await;
        nest.until_ready().await;
        nest.client().await.put("robin", json!(1)).await.expect(201);
        backends.table().until_row("robin", |_| true).await;
        // The queue is empty, and the Job that drops the schema tries in vain.
        backends.postgres.stop().await;
        let before = delete(&nest).await;
        until_waiting(&nest, "waiting for the schema to be dropped").await;
        nest.patch(json!({ "spec": { "deletionPolicy": "Retain" } }))
            .await;
        until_gone(&nest, &before).await;
        backends.postgres.start().await;
        assert!(backends.table().row("robin").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_managed_nest_leaves_volumes_only_with_retain() {
    story("managed-delete", async |space| {
        let claims = space.api::<PersistentVolumeClaim>();
        for (policy, left) in [("Retain", 2), ("Delete", 0)] {
            let nest = space.apply_nest("house", &managed(policy)).await;
            nest.until_ready().await;
            nest.client().await.put("robin", json!(policy)).await.expect(201);
            let before = delete(&nest).await;
            until_gone(&nest, &before).await;
            eventually(&format!("{left} volumes are left with {policy}"), || async {
                let found = claims
                    .list(&ListParams::default())
                    .await
                    .map_err(|error| error.to_string())?;
                seen(found.items.len(), |found| *found == left)
            })
            .await;
        }
        space.until_deleted().await;
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_nats_does_not_hold_a_nest_that_retains() {
    story("retain-unreachable", async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest("alone", &small()).await;
        nest.until_ready().await;
        backends.nats.stop().await;
        let before = delete(&nest).await;
        until_gone(&nest, &before).await;
    })
    .await;
}

#[tokio::test]
async fn a_forced_deletion_waits_for_nothing_and_says_what_it_leaves() {
    story("forced", async |space| {
        let backends = space.backends().await;
        let mut spec = small();
        spec["deletionPolicy"] = json!("Delete");
        let nest = space.apply_nest("hasty", &spec).await;
        nest.until_ready().await;
        backends.nats.stop().await;
        let before = delete(&nest).await;
        nest.until_event("what it waits for", |reason, note| {
            reason == "Deleting" && note.contains("force-delete")
        })
        .await;
        nest.patch(json!({ "metadata": { "annotations": { "birbnest.dev/force-delete": "true" } } }))
            .await;
        until_gone(&nest, &before).await;
        let streams = format!("cache_{}_hasty_*", space.name);
        nest.until_event("what it leaves", |reason, note| {
            reason == "DataLeftBehind" && note.contains(&streams) && note.contains("the schema birbnest")
        })
        .await;
    })
    .await;
}

/// The drained rows outlive the table that is dropped afterwards.
const KEEP_A_COPY: &str = "
    CREATE SCHEMA copies;
    CREATE TABLE copies.cache_entries AS SELECT * FROM birbnest.cache_entries;
    CREATE FUNCTION copies.keep() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO copies.cache_entries SELECT NEW.*; RETURN NEW; END $$;
    CREATE TRIGGER keep AFTER INSERT OR UPDATE ON birbnest.cache_entries
        FOR EACH ROW EXECUTE FUNCTION copies.keep();
";

/// A small nest with servers of its own, and what becomes of their volumes.
pub(crate) fn managed(deletion_policy: &str) -> Value {
    json!({
        "redis": { "managed": {} },
        "nats": { "managed": {} },
        "postgres": { "managed": {} },
        "api": { "replicas": 1 },
        "worker": { "autoscaling": { "min": 1, "max": 1 } },
        "deletionPolicy": deletion_policy,
    })
}

/// Waits until a nest that is deleted says that it waits for this, and returns the whole sentence.
async fn until_waiting(nest: &Nest, what: &str) -> String {
    eventually_within(Duration::from_mins(1), "it says what it waits for", || async {
        let ready = condition_of(&nest.status().await, "Ready");
        let message = ready.map(|condition| condition.message).unwrap_or_default();
        seen(message, |message| {
            message.contains(what) && message.contains("force-delete")
        })
    })
    .await
}

/// Deletes the nest and returns its uid.
pub(crate) async fn delete(nest: &Nest) -> String {
    let uid = nest.object().await.metadata.uid.unwrap();
    nest.api()
        .delete(&nest.name, &DeleteParams::default())
        .await
        .unwrap();
    uid
}

pub(crate) async fn until_gone(nest: &Nest, uid: &str) {
    eventually_within(Duration::from_mins(2), "the nest is gone", || async {
        let now = nest
            .api()
            .get_opt(&nest.name)
            .await
            .map_err(|error| error.to_string())?;
        seen(now.map(|nest| nest.status), Option::is_none)
    })
    .await;
    eventually_within(Duration::from_mins(1), "no child is left", || async {
        seen(nest.owned_by(uid).await, BTreeMap::is_empty)
    })
    .await;
    for component in ["api", "worker", "redis", "nats", "postgres", "migrate"] {
        eventually_within(Duration::from_mins(1), "no pod is left", || async {
            let pods = nest.pods(component).await.map_err(|error| error.to_string())?;
            seen(pods.len(), |left| *left == 0)
        })
        .await;
    }
}

pub(crate) async fn streams(jetstream: &async_nats::jetstream::Context) -> Vec<String> {
    use futures::TryStreamExt;
    let mut names: Vec<_> = jetstream.stream_names().try_collect().await.unwrap();
    names.sort();
    names
}
