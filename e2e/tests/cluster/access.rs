//! How the HTTP API is reached, and by whom: TLS, API keys, its Service, an Ingress and a route.

use std::time::Duration;

use birbnest_e2e::{
    certificate::Certificate,
    client::{Answer, ApiClient},
    cluster::{ForeignKind, Nest, Space, story},
    wait::{eventually, eventually_within, seen},
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Pod, Secret, Service},
        networking::v1::Ingress,
    },
};
use kube::ResourceExt;
use reqwest::Method;
use serde_json::json;

use crate::{merge, plugin::birbnest, small};

/// A kubelet brings a changed Secret to its pods within a minute or two, and they look every few seconds.
const BROUGHT: Duration = Duration::from_mins(3);
/// The operator looks every minute whether the kinds are there, and then starts again.
const NOTICED: Duration = Duration::from_mins(3);

const ROUTES: ForeignKind = ForeignKind {
    group: "gateway.networking.k8s.io",
    kind: "HTTPRoute",
    annotations: &[(
        "api-approved.kubernetes.io",
        "https://github.com/kubernetes-sigs/gateway-api/pull/2997",
    )],
};

#[tokio::test]
async fn a_nest_with_tls_and_keys_follows_its_secrets_without_a_restart() {
    story("access", async |space| {
        let _backends = space.backends().await;
        let mut spec = small();
        let api = json!({ "tls": { "secretName": "certificate" }, "auth": { "apiKeys": {} } });
        merge(&mut spec["api"], &api);
        let nest = space.apply_nest("locked", &spec).await;
        let missing = "spec.api.tls.secretName names the Secret certificate, which does not exist";
        nest.until_said("Stalled", "True", |said| said.message.starts_with(missing))
            .await;
        let first = certified(space, &nest).await;
        nest.until_ready().await;
        let endpoint = nest.status().await.endpoint;
        assert_eq!(endpoint, Some(format!("https://{}", nest.host())));

        let client = nest.client_trusting(&first.certificate).await;
        client.get("robin").await.expect(401);
        let key = generated_key(space, "locked-api-keys").await;
        let ask = async |method: Method, key: &str| {
            let request = client.about(method, "robin").header("x-api-key", key);
            request.json(&json!({ "value": 1 })).send().await
        };
        ask(Method::PUT, &key).await.expect(201);
        ask(Method::GET, &key).await.expect(200);
        // The plugin finds the key and speaks TLS by itself.
        let screen = birbnest(space, &["status", "locked"]);
        assert!(screen.contains("redis"), "{screen}");
        assert_eq!(birbnest(space, &["dead-letters", "locked"]), "there are none\n");

        let before = pods(&nest).await;
        let renewed = certified(space, &nest).await;
        // Whoever deletes the key gets another one.
        space.delete::<Secret>("locked-api-keys").await;
        nest.patch(json!({ "metadata": { "annotations": { "looked": "again" } } }))
            .await;
        let another = eventually("there is another key", || async {
            let secret = space.api::<Secret>().get_opt("locked-api-keys").await;
            let secret = secret
                .map_err(|error| error.to_string())?
                .ok_or("there is none")?;
            seen(key_of(&secret), |another| *another != key)
        })
        .await;
        let is = |status: u16| move |answer: &Answer| answer.status.as_u16() == status;
        eventually_within(BROUGHT, "the new key is known", || async {
            seen(ask(Method::GET, &another).await, is(200))
        })
        .await;
        ask(Method::GET, &key).await.expect(401);
        eventually_within(BROUGHT, "the new certificate is shown", || async {
            let address = format!("{}:443", nest.address_of("api").await);
            let client = ApiClient::trusting(&renewed.certificate, &nest.host(), address.parse().unwrap());
            let answer = client.request(Method::GET, "/readyz").try_send().await;
            answer.map(drop).map_err(|error| format!("{error:?}"))
        })
        .await;
        assert_eq!(pods(&nest).await, before, "no pod was restarted");
    })
    .await;
}

#[tokio::test]
async fn a_nest_is_reached_through_what_its_spec_asks_for() {
    story("doors", async |space| {
        let _backends = space.backends().await;
        let mut spec = small();
        let doors = json!({
            "service": { "type": "NodePort", "annotations": { "example.com/zone": "a" } },
            "ingress": { "host": "open.example.com", "className": "none", "annotations": { "example.com/slow": "no" } },
        });
        merge(&mut spec["api"], &doors);
        let nest = space.apply_nest("open", &spec).await;
        nest.until_ready().await;
        let service = space.api::<Service>().get("open-api").await.unwrap();
        assert_eq!(service.annotations()["example.com/zone"], "a");
        let port = service.spec.unwrap().ports.unwrap()[0].clone();
        assert!(port.node_port.is_some(), "{port:?}");
        let ingress = space.api::<Ingress>().get("open-api").await.unwrap();
        let rule = ingress.spec.unwrap().rules.unwrap().remove(0);
        let backend = rule.http.unwrap().paths.remove(0).backend.service.unwrap();
        assert_eq!(rule.host.as_deref(), Some("open.example.com"));
        assert_eq!(
            (backend.name.as_str(), backend.port.unwrap().name),
            ("open-api", port.name)
        );

        ROUTES.install(space).await;
        let route = json!({ "api": { "httpRoute": { "parentRefs": [{ "name": "door" }] } } });
        nest.patch(json!({ "spec": route })).await;
        let routed = eventually_within(NOTICED, "there is a route", || async {
            let found = ROUTES.objects(space).get_opt("open-api").await;
            found.map_err(|error| error.to_string())?.ok_or("there is none".to_owned())
        })
        .await;
        assert_eq!(routed.data["spec"]["rules"][0]["backendRefs"][0]["port"], 80);
        nest.until_ready().await;

        // What is not asked for any more goes.
        nest.patch(json!({ "spec": { "api": { "ingress": null, "httpRoute": null, "service": null } } }))
            .await;
        eventually("the doors are closed", || async {
            let ingress = space.api::<Ingress>().get_opt("open-api").await;
            let route = ROUTES.objects(space).get_opt("open-api").await;
            let service = space.api::<Service>().get("open-api").await;
            let service = service.map_err(|error| error.to_string())?;
            let left = (
                ingress.map_err(|error| error.to_string())?.is_some(),
                route.map_err(|error| error.to_string())?.is_some(),
                service.spec.and_then(|spec| spec.type_),
            );
            seen(left, |left| *left == (false, false, Some("ClusterIP".to_owned())))
        })
        .await;
        nest.until_ready().await;
    })
    .await;
}

/// Gives the nest a new certificate.
async fn certified(space: &Space, nest: &Nest) -> Certificate {
    let made = Certificate::of(&nest.host());
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": "certificate" },
        "stringData": { "tls.crt": made.certificate, "tls.key": made.key },
    });
    space.apply::<Secret>(&secret).await;
    made
}

async fn generated_key(space: &Space, secret: &str) -> String {
    key_of(&space.api::<Secret>().get(secret).await.unwrap())
}

fn key_of(secret: &Secret) -> String {
    let ByteString(key) = &secret.data.as_ref().unwrap()["default"];
    String::from_utf8(key.clone()).unwrap()
}

/// Who the API pods are, and how often they were started.
async fn pods(nest: &Nest) -> Vec<(String, i32)> {
    let pods = nest.pods("api").await.unwrap();
    let restarts = |pod: &Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        statuses.map_or(0, |statuses| statuses[0].restart_count)
    };
    pods.iter().map(|pod| (pod.name_any(), restarts(pod))).collect()
}
