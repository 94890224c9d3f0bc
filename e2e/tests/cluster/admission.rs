//! The operator may do what those who write BirbNests may not: it hands out no Secret for them, and opens no way in.

use birbnest_e2e::{
    cluster::{Space, story},
    wait::{eventually, seen},
};
use k8s_openapi::api::{
    authorization::v1::ResourceAttributes,
    rbac::v1::{Role, RoleBinding},
};
use serde_json::{Value, json};

use crate::{merge, small};

/// Who writes BirbNests.
const DEVELOPER: &str = "developer";
/// An image that does with its Secrets what it likes.
const OWN_IMAGE: &str = "example.com/own:1";

#[tokio::test]
async fn whoever_names_a_secret_has_to_be_allowed_to_read_it() {
    story("deputy", async |space| {
        let _backends = space.backends().await;
        let developer = space.seen_by(DEVELOPER).await;
        allow_nests(space).await;
        let none = "spec.redis.urlFrom gives pods the Secret backends, which you may not get";
        assert_refused(&developer, &small(), none).await;
        let managed = json!({ "managed": {} });
        let own = json!({ "redis": managed, "nats": managed, "postgres": managed, "pod": { "image": OWN_IMAGE } });
        let made = "spec.pod.image gives pods the Secret lent-credentials";
        assert_refused(&developer, &own, made).await;

        let read = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["backends"], "verbs": ["get"] });
        allow(space, "read", &read).await;
        until_may(space, true, ["", "secrets", "get", "backends"]).await;
        developer.apply_nest("lent", &small()).await;
        let nest = space.nest("lent");
        nest.until_ready().await;
        let token = json!({ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "token", "key": "token" } } });
        let other = with(&json!({ "pod": { "env": [token] } }));
        assert_refused(&developer, &other, "spec.pod.env[TOKEN] gives pods the Secret token").await;

        // What is named already needs no right, as long as it goes to the same pods.
        space.delete::<RoleBinding>("read").await;
        until_may(space, false, ["", "secrets", "get", "backends"]).await;
        let change = json!({ "worker": { "batch": { "size": 77 } }, "deletionPolicy": "Delete" });
        developer.apply_nest("lent", &with(&change)).await;
        eventually("the operator has put its finalizer on", || async {
            let finalizers = nest.object().await.metadata.finalizers;
            seen(finalizers, Option::is_some)
        })
        .await;
        let image = with(&json!({ "pod": { "image": OWN_IMAGE } }));
        let other_image = "gives pods of another image the Secret backends, which you may not get";
        assert_refused(&developer, &image, other_image).await;
        let key = json!({ "urlFrom": { "secretKeyRef": { "key": "postgres-url" } } });
        assert_refused(&developer, &with(&json!({ "redis": key })), none).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_for_a_way_in_has_to_be_allowed_to_make_it() {
    story("exposure", async |space| {
        let developer = space.seen_by(DEVELOPER).await;
        allow_nests(space).await;
        let ways = [
            (
                ["networking.k8s.io", "ingresses"],
                "spec.api.ingress makes or changes an Ingress, which you may not create",
                json!({ "ingress": { "host": "lent.example.com" } }),
                json!({ "ingress": { "host": "lent.example.com", "annotations": { "example.com/snippet": "own" } } }),
            ),
            (
                ["gateway.networking.k8s.io", "httproutes"],
                "spec.api.httpRoute makes or changes an HTTPRoute, which you may not create",
                json!({ "httpRoute": { "parentRefs": [{ "name": "door" }] } }),
                json!({ "httpRoute": { "parentRefs": [{ "name": "door" }], "hostnames": ["other.example.com"] } }),
            ),
            (
                ["", "services"],
                "spec.api.service makes or changes a Service",
                json!({ "service": { "type": "LoadBalancer", "annotations": { "example.com/internal": "true" } } }),
                json!({ "service": { "type": "LoadBalancer" } }),
            ),
            (
                ["", "services"],
                "spec.api.service makes or changes a Service",
                json!({ "service": { "annotations": { "example.com/name": "lent" } } }),
                json!({ "service": { "annotations": { "example.com/name": "other" } } }),
            ),
        ];
        for ([group, resource], why, asked, other) in ways {
            let right = [group, resource, "create", "lent"];
            let way_in = paused(&json!({ "api": asked }));
            assert_refused(&developer, &way_in, why).await;
            let make = json!({ "apiGroups": [group], "resources": [resource], "verbs": ["create"] });
            allow(space, resource, &make).await;
            until_may(space, true, right).await;
            developer.apply_nest("lent", &way_in).await;

            // What is asked for already needs no right, nor does what is not asked for any more.
            space.delete::<RoleBinding>(resource).await;
            until_may(space, false, right).await;
            let change = json!({ "api": asked, "worker": { "batch": { "size": 77 } } });
            developer.apply_nest("lent", &paused(&change)).await;
            assert_refused(&developer, &paused(&json!({ "api": other })), why).await;
            developer.apply_nest("lent", &paused(&json!({}))).await;
        }
    })
    .await;
}

/// A nest of which the operator makes nothing, as only what the API server says to it counts.
fn paused(more: &Value) -> Value {
    let managed = json!({ "managed": {} });
    let mut spec = json!({ "redis": managed, "nats": managed, "postgres": managed, "paused": true });
    merge(&mut spec, more);
    spec
}

/// A small nest, and what is different about it.
fn with(more: &Value) -> Value {
    let mut spec = small();
    merge(&mut spec, more);
    spec
}

async fn assert_refused(developer: &Space, spec: &Value, why: &str) {
    let refusal = developer.refusal_of("lent", spec).await;
    assert!(refusal.contains(why), "{refusal}");
}

/// Lets the developer write BirbNests.
async fn allow_nests(space: &Space) {
    let write =
        json!({ "apiGroups": ["birbnest.dev"], "resources": ["birbnests"], "verbs": ["create", "patch"] });
    allow(space, "write", &write).await;
    until_may(space, true, ["birbnest.dev", "birbnests", "patch", "lent"]).await;
}

/// Gives the developer a role that may do one thing.
async fn allow(space: &Space, name: &str, may: &Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let version = format!("{GROUP}/v1");
    let role = json!({
        "apiVersion": version,
        "kind": "Role",
        "metadata": { "name": name },
        "rules": [may],
    });
    space.apply::<Role>(&role).await;
    let binding = json!({
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": DEVELOPER, "namespace": space.name }],
    });
    space.apply::<RoleBinding>(&binding).await;
}

/// It takes some moments until the API server has heard of a role.
async fn until_may(space: &Space, expected: bool, [group, resource, verb, name]: [&str; 4]) {
    let right = ResourceAttributes {
        namespace: Some(space.name.clone()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        name: Some(name.to_owned()),
        ..ResourceAttributes::default()
    };
    eventually(&format!("may {verb} {name}: {expected}"), || async {
        seen(space.may(DEVELOPER, right.clone()).await, |may| *may == expected)
    })
    .await;
}
