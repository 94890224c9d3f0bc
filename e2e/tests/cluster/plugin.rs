//! An admin looks at a nest, and mends what PostgreSQL rejected, with the plugin of kubectl.

use std::{env, path::PathBuf, process::Command};

use birbnest_e2e::{
    cluster::{Space, story},
    wait::{eventually, seen},
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::small;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_shows_a_nest_and_replays_what_postgresql_rejected() {
    story("plugin", async |space| {
        let backends = space.backends().await;
        let mut spec = small();
        spec["worker"]["retry"] = json!({ "maxAttempts": 1, "backoff": "100ms" });
        let nest = space.apply_nest("shown", &spec).await;
        nest.until_ready().await;
        // It asks through the Service, of which the API server learns by itself.
        let screen = eventually("the plugin reaches the API", || async {
            seen(birbnest(space, &["status", "shown"]), |screen| {
                screen.contains("redis")
            })
        })
        .await;
        for part in [
            "shown  ready",
            "1 of 1 ready",
            "redis",
            "schema 7",
            "! DurabilityReady",
        ] {
            assert!(screen.contains(part), "{part} is not in:\n{screen}");
        }
        assert!(birbnest(space, &["status"]).contains("shown "));
        assert_eq!(birbnest(space, &["dead-letters", "shown"]), "there are none\n");

        let table = "birbnest.cache_entries";
        let reject = format!("ALTER TABLE {table} ADD CONSTRAINT taste CHECK (key <> 'robin') NOT VALID");
        backends.postgres.run(&reject).await;
        let client = nest.client().await;
        client.put("robin", json!(1)).await.expect(201);
        let letter = eventually("the write is a dead letter", || async {
            seen(birbnest(space, &["dead-letters", "shown", "list"]), |list| {
                list.contains("robin")
            })
        })
        .await;
        assert!(
            letter.contains("taste"),
            "the reason names the constraint: {letter}"
        );
        let id = letter.split_whitespace().next().unwrap();
        assert!(birbnest(space, &["dead-letters", "shown", "show", id]).contains("robin"));

        backends
            .postgres
            .run(&format!("ALTER TABLE {table} DROP CONSTRAINT taste"))
            .await;
        let replayed = birbnest(space, &["dead-letters", "shown", "replay", id]);
        assert!(replayed.contains("written again with version"), "{replayed}");
        eventually("the write is in PostgreSQL", || async {
            seen(backends.table().rows().await, |rows| rows.contains_key("robin")).map(drop)
        })
        .await;
        assert!(birbnest(space, &["prime", "shown", "--limit", "10"]).starts_with("requested: "));
        space.apply::<ConfigMap>(&of_another_release("shown")).await;
        let report = birbnest(space, &["support", "shown", "--lines", "20"]);
        for part in [
            "===== BirbNest",
            "===== events",
            "===== /health",
            "===== log of shown-worker",
        ] {
            assert!(report.contains(part), "{part} is not in:\n{report}");
        }
        assert!(!report.contains("private"), "it is of somebody else:\n{report}");
        assert!(
            !report.contains(&backends.postgres.url()),
            "an address is a secret"
        );
    })
    .await;
}

/// Something of a release that was given the name of the nest.
fn of_another_release(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "other", "labels": { "app.kubernetes.io/instance": name } },
        "data": { "note": "private" },
    })
}

/// What the plugin prints.
pub(crate) fn birbnest(space: &Space, arguments: &[&str]) -> String {
    let folder = env::var_os("BIRBNEST_BIN").unwrap();
    let program = PathBuf::from(folder).join("kubectl-birbnest");
    let ran = Command::new(&program)
        .args(["--namespace", &space.name])
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "{} {arguments:?}: {told}",
        program.display()
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
