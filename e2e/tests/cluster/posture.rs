//! What is declared and cannot be kept is said, with what to do, and taken back when it is mended.

use birbnest_e2e::{
    cluster::{Backends, Nest, condition_of, story},
    servers::{Disk, NatsServer, PostgresServer, RedisServer},
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::external;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_kept_is_said_until_it_is_mended() {
    story("posture", async |space| {
        let host = Backends::host();
        let backends = Backends {
            redis: RedisServer::start_on(host).await,
            nats: NatsServer::start_on(host, Disk::Trusted).await,
            postgres: PostgresServer::start_on(host, Disk::Synced).await,
        };
        space.apply::<Secret>(&backends.secret()).await;
        let greedy = json!({
            "api": { "replicas": 1 },
            "worker": { "autoscaling": { "min": 1, "max": 100 } },
            "postgres": { "maxConnections": 10 },
        });
        let nest = space.apply_nest("careless", &external(&greedy)).await;
        nest.until_ready().await;
        until_told(
            &nest,
            "TooFewConnections",
            &["1012 connections", "maxmemory is not set", "replicas"],
        )
        .await;

        change(&backends, "synchronous_commit", "off").await;
        until_told(
            &nest,
            "CommitsNotDurable",
            &["synchronous_commit is off", "replicas"],
        )
        .await;

        change(&backends, "synchronous_commit", "on").await;
        nest.patch(json!({ "spec": { "worker": { "autoscaling": { "max": 2 } } } }))
            .await;
        let mut redis = backends.redis.connect().await.unwrap();
        for (name, value) in [("maxmemory", "64mb"), ("maxmemory-policy", "allkeys-lru")] {
            redis::cmd("CONFIG")
                .arg(&["SET", name, value])
                .query_async::<()>(&mut redis)
                .await
                .unwrap();
        }
        let left = nest.until_status("only the single copy is left", |status| {
            let durable = condition_of(status, "DurabilityReady");
            durable.is_some_and(|durable| durable.reason == "SingleCopy" && !durable.message.contains("; "))
        });
        left.await;
    })
    .await;
}

async fn until_told(nest: &Nest, reason: &str, parts: &[&str]) {
    nest.until_said("DurabilityReady", "False", |durable| {
        durable.reason == reason && parts.iter().all(|part| durable.message.contains(part))
    })
    .await;
}

async fn change(backends: &Backends, setting: &str, value: &str) {
    let statement = format!("ALTER SYSTEM SET {setting} = {value}");
    backends.postgres.run(&statement).await;
    backends.postgres.run("SELECT pg_reload_conf()").await;
}
