//! Every kind of change to a nest that is in use: no request fails, and nothing that was acknowledged is lost.

use std::{env, time::Duration};

use birbnest_e2e::{
    cluster::{Backends, Nest, is_rolled_out, is_true, story},
    wait::{eventually, eventually_within, seen},
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    external,
    rollout::{assert_all_kept, uids, under_load, until_replaced},
};

/// Two of each, so that one serves while the other is replaced.
pub(crate) fn doubled() -> Value {
    external(&json!({ "api": { "replicas": 2 }, "worker": { "autoscaling": { "min": 2, "max": 2 } } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cache_does_is_changed_without_a_failed_request() {
    make(
        "behaviour",
        vec![
            json!({ "cache": { "defaultTtl": "2h", "negativeTtl": "500ms", "maxValueBytes": 100_000 } }),
            json!({ "cache": { "onQueueOutage": "WriteThrough" } }),
            json!({ "cache": { "writeMode": "Through" } }),
            json!({ "cache": { "writeMode": "Behind", "durability": "persisted", "onQueueOutage": "Reject" } }),
            json!({ "worker": { "batch": { "size": 100, "wait": "5ms" }, "concurrency": 1 } }),
            json!({ "log": { "level": "debug" }, "deletionPolicy": "Delete" }),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_numbers_are_changed_without_a_failed_request() {
    make(
        "limits",
        vec![
            json!({ "api": { "replicas": 3, "maxConnections": 2_000, "requestTimeout": "4s" } }),
            json!({ "api": { "replicas": null, "autoscaling": { "min": 2, "max": 3 } } }),
            json!({ "api": { "replicas": 1, "autoscaling": null } }),
            json!({ "worker": { "autoscaling": { "min": 1, "max": 3 } }, "api": { "replicas": 2 } }),
            json!({ "api": { "resources": { "requests": { "cpu": "20m", "memory": "96Mi" }, "limits": { "memory": "384Mi" } } } }),
            json!({ "pod": { "annotations": { "example.com/team": "birds" }, "env": [{ "name": "TZ", "value": "UTC" }] } }),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_are_used_otherwise_without_a_failed_request() {
    make(
        "stores",
        vec![
            json!({ "nats": { "stream": { "maxMessages": 500_000, "maxBytes": 500_000_000, "horizon": "10s" } } }),
            json!({ "postgres": { "maxConnections": 4 } }),
            json!({ "postgres": { "tablePartitions": 4 } }),
            json!({ "nats": { "stream": { "partitions": 2 } } }),
        ],
    )
    .await;
}

/// Another name of the same programs stands for another release: what is rolled is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_image_and_back_rolls_without_a_failed_request() {
    let [now, other] = ["BIRBNEST_IMAGE", "BIRBNEST_IMAGE_AGAIN"].map(|name| {
        env::var(name).unwrap_or_else(|_| panic!("{name} is not set: e2e/images/images names prints it"))
    });
    let changes = [other, now].map(|image| json!({ "pod": { "image": image } }));
    make("image", changes.into()).await;
}

/// Makes the changes, one when the one before has rolled out, while clients write and read.
async fn make(name: &str, changes: Vec<Value>) {
    story(name, async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest(name, &doubled()).await;
        nest.until_ready().await;
        let load = under_load(&nest).await;
        for change in changes {
            nest.patch(json!({ "spec": change })).await;
            until_rolled_out(&nest, &change).await;
            load.until_more(100).await;
        }
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

/// A password is changed as it should be: the new one is valid before the old one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_rotated_without_a_failed_request() {
    story("rotation", async |space| {
        let backends = space.backends().await;
        let (first, second) = (
            Users::create(&backends, "wren").await,
            Users::create(&backends, "finch").await,
        );
        // Whoever comes next owns what the one before has made.
        backends.postgres.run("GRANT wren TO finch").await;
        space.apply::<Secret>(&first.secret()).await;
        let nest = space.apply_nest("guarded", &doubled()).await;
        nest.until_ready().await;
        let before = [uids(&nest, "api").await, uids(&nest, "worker").await];
        let load = under_load(&nest).await;

        space.apply::<Secret>(&second.secret()).await;
        for (component, before) in ["api", "worker"].into_iter().zip(&before) {
            until_replaced(&nest, component, before).await;
        }
        eventually("nobody uses the old user any more", || async {
            seen(first.connections(&backends).await, |used| *used == 0)
        })
        .await;
        first.lock_out(&backends).await;
        load.until_more(200).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

/// A user of Redis and one of PostgreSQL, with the same name.
struct Users {
    name: &'static str,
    secret: Value,
}

impl Users {
    async fn create(backends: &Backends, name: &'static str) -> Self {
        let (redis, postgres) = (&backends.redis, &backends.postgres);
        let password = format!(">{name}-password");
        let () = redis
            .run(&["ACL", "SETUSER", name, "on", &password, "~*", "&*", "+@all"])
            .await;
        let mut secret = backends.secret();
        let addresses = &mut secret["stringData"];
        addresses["redis-url"] = json!(format!("redis://{name}:{name}-password@{}/0", redis.address()));
        addresses["postgres-url"] = json!(postgres.create_role(name, "").await);
        Self { name, secret }
    }

    fn secret(&self) -> Value {
        self.secret.clone()
    }

    /// Connections to Redis and PostgreSQL that it has.
    async fn connections(&self, backends: &Backends) -> usize {
        let clients: String = backends.redis.run(&["CLIENT", "LIST"]).await;
        let user = format!("user={} ", self.name);
        let of_redis = clients.lines().filter(|client| client.contains(&user)).count();
        of_redis + backends.postgres.sessions_of(self.name).await
    }

    async fn lock_out(&self, backends: &Backends) {
        let () = backends.redis.run(&["ACL", "DELUSER", self.name]).await;
        backends
            .postgres
            .run(&format!("ALTER ROLE {} NOLOGIN", self.name))
            .await;
    }
}

/// Waits until the status speaks of this change, and every pod is one of the newest template and available.
pub(crate) async fn until_rolled_out(nest: &Nest, change: &Value) {
    let told = format!("{change} has rolled out");
    nest.until_status(&told, |status| {
        is_true(status, "Ready") && !is_true(status, "Reconciling")
    })
    .await;
    eventually_within(Duration::from_mins(2), &told, || async {
        for component in ["api", "worker"] {
            seen(nest.deployment(component).await?, is_rolled_out)?;
        }
        Ok::<_, String>(())
    })
    .await;
}
