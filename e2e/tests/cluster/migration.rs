//! A migration that PostgreSQL refuses.

use birbnest_e2e::{
    cluster::{is_rolled_out, story},
    wait::{eventually, seen},
};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::small;

#[tokio::test]
async fn the_old_pods_serve_while_a_migration_fails_and_a_mended_one_rolls_out() {
    story("migration", async |space| {
        let backends = space.backends().await;
        let postgres = &backends.postgres;
        let nest = space.apply_nest("moving", &small()).await;
        nest.until_ready().await;
        let client = nest.client().await;
        client.put("robin", json!(1)).await.expect(201);
        let (old, _) = deployment(space, "moving-api").await;

        // As if the tables were somebody else's: the migrations are not known to have run, and cannot run.
        let migrations = "birbnest._sqlx_migrations";
        postgres
            .run(&format!(
                "CREATE TABLE saved AS SELECT * FROM {migrations}; DELETE FROM {migrations}"
            ))
            .await;
        nest.patch(json!({ "spec": { "log": { "level": "debug" } } }))
            .await;
        let failed = nest.until_said("MigrationsComplete", "False", |failed| {
            failed.message.contains("already exists")
        });
        let failed = failed.await;
        eprintln!("{}: {}", failed.reason, failed.message);
        assert_eq!(
            deployment(space, "moving-api").await.0,
            old,
            "no pod needs what is not there"
        );
        assert_eq!(client.get("robin").await.expect(200).value(), json!(1));
        client.put("robin", json!(2)).await.expect(201);

        postgres
            .run(&format!("INSERT INTO {migrations} SELECT * FROM saved"))
            .await;
        let jobs = space.api::<Job>();
        jobs.delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .unwrap();
        nest.until_condition("MigrationsComplete", "True").await;
        nest.until_ready().await;
        eventually("the new pods have rolled out", || async {
            let (template, rolled_out) = deployment(space, "moving-api").await;
            seen((template != old, rolled_out), |state| *state == (true, true))
        })
        .await;
        assert_eq!(client.get("robin").await.expect(200).value(), json!(2));
    })
    .await;
}

/// The pods' template, and whether all pods are made from it and available.
async fn deployment(space: &birbnest_e2e::cluster::Space, name: &str) -> (serde_json::Value, bool) {
    let deployment = space.api::<Deployment>().get(name).await.unwrap();
    let rolled_out = is_rolled_out(&deployment);
    let template = deployment.spec.unwrap().template;
    (serde_json::to_value(template).unwrap(), rolled_out)
}
