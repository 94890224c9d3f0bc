//! The operator may read Secrets that those who write BirbNests may not: it hands out none for them.

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
        let write =
            json!({ "apiGroups": ["birbnest.dev"], "resources": ["birbnests"], "verbs": ["create", "patch"] });
        allow(space, "write", &write).await;
        until_may(space, true, ["birbnest.dev", "birbnests", "patch", "lent"]).await;
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
