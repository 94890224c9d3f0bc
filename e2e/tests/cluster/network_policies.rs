//! Who may connect to a nest's pods, on a network that enforces policies about it.

use std::{env, fmt, process::Command, time::Duration};

use birbnest_e2e::{
    cluster::{Nest, Space, story},
    wait::{eventually, eventually_within, seen},
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A busy machine runs a dozen commands in as many pods.
const NOTICED_WITHIN: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_is_named_reaches_a_nest_and_the_nest_works() {
    story("policies", async |space| {
        // Boxed: a story is large.
        let elsewhere = async |elsewhere: &Space| Box::pin(told(space, elsewhere)).await;
        story("policies-elsewhere", elsewhere).await;
    })
    .await;
}

async fn told(space: &Space, elsewhere: &Space) {
    let nest = space.apply_nest("prices", &spec(elsewhere)).await;
    let people = People::arrive(space, elsewhere).await;
    nest.until_ready().await; // its migrations, API and workers have found their backends under the policies
    let endpoints = Endpoints::of(&nest).await;

    // What nobody reaches with policies, everybody reaches without.
    enable(&nest, false).await;
    for who in people.all() {
        until_reached(who, &endpoints.all()).await;
    }

    enable(&nest, true).await;
    until_shut_out(&people.stranger, &endpoints.all()).await;
    until_shut_out(&people.namesake, &endpoints.all()).await;
    until_shut_out(
        &people.client,
        &[endpoints.managed(), vec![&endpoints.worker]].concat(),
    )
    .await;
    until_shut_out(&people.monitor, &endpoints.managed()).await;
    until_reached(&people.client, &[&endpoints.service, &endpoints.api]).await;
    until_reached(&people.monitor, &[&endpoints.api, &endpoints.worker]).await;

    connections_are_made_anew(space, &nest).await;
}

/// Clients are told by their labels in the nest's namespace, who monitors by its labels and its own.
fn spec(elsewhere: &Space) -> Value {
    let labelled = |role: &str| json!({ "matchLabels": { "role": role } });
    let namespace = json!({ "matchLabels": { "kubernetes.io/metadata.name": elsewhere.name } });
    json!({
        "redis": { "managed": {} },
        "nats": { "managed": {} },
        "postgres": { "managed": {} },
        "api": { "replicas": 1 },
        "worker": { "autoscaling": { "min": 1, "max": 1 } },
        "networkPolicies": {
            "clients": [{ "podSelector": labelled("client") }],
            "monitoring": [{ "podSelector": labelled("monitor"), "namespaceSelector": namespace }],
        },
    })
}

async fn enable(nest: &Nest, enabled: bool) {
    nest.patch(json!({ "spec": { "networkPolicies": { "enabled": enabled } } }))
        .await;
}

/// The backends start again, at other addresses: the operator too must connect anew to tell the length of the queue.
async fn connections_are_made_anew(space: &Space, nest: &Nest) {
    for component in ["nats", "postgres", "redis"] {
        space.delete::<Pod>(&format!("{}-{component}-0", nest.name)).await;
    }
    nest.until_ready().await;
    let client = nest.client().await;
    let written = eventually("writes are acknowledged", || async {
        seen(client.put("robin", json!(1)).await, |answer| answer.status == 201)
    })
    .await;
    let version = i64::try_from(written.version()).unwrap();
    nest.until_status("the operator sees that the write is persisted", |status| {
        let persisted = status
            .persisted_through
            .iter()
            .any(|stream| stream.version >= Some(version));
        persisted && status.queue.as_ref().is_some_and(|queue| queue.depth == 0)
    })
    .await;
    nest.until_ready().await;
}

/// Where a nest listens. Each endpoint has the first words of what stands behind it.
struct Endpoints {
    service: Endpoint,
    api: Endpoint,
    worker: Endpoint,
    redis: Endpoint,
    nats: Endpoint,
    nats_monitoring: Endpoint,
    postgres: Endpoint,
}

#[derive(Clone, Debug)]
struct Endpoint {
    address: String,
    port: &'static str,
    greeting: &'static str,
}

impl Endpoints {
    async fn of(nest: &Nest) -> Self {
        const HTTP: &str = "got \"H\" as reply"; // of HTTP/1.1
        let endpoint = |address: &str, port, greeting| Endpoint {
            address: address.to_owned(),
            port,
            greeting,
        };
        let (api, worker) = (address_of(nest, "api").await, address_of(nest, "worker").await);
        let nats = address_of(nest, "nats").await;
        Self {
            service: endpoint(&nest.address_of("api").await, "80", HTTP),
            api: endpoint(&api, "8080", HTTP),
            worker: endpoint(&worker, "8081", HTTP),
            redis: endpoint(&address_of(nest, "redis").await, "6379", "NOAUTH"),
            nats: endpoint(&nats, "4222", "got \"I\" as reply"), // of INFO
            nats_monitoring: endpoint(&nats, "8222", HTTP),
            postgres: endpoint(&address_of(nest, "postgres").await, "5432", "Server closed"),
        }
    }

    fn managed(&self) -> Vec<&Endpoint> {
        vec![&self.redis, &self.nats, &self.nats_monitoring, &self.postgres]
    }

    fn all(&self) -> Vec<&Endpoint> {
        [vec![&self.service, &self.api, &self.worker], self.managed()].concat()
    }
}

async fn address_of(nest: &Nest, component: &str) -> String {
    let pods = nest.pods(component).await.unwrap();
    pods.into_iter()
        .next()
        .unwrap()
        .status
        .and_then(|status| status.pod_ip)
        .unwrap()
}

/// Pods from which a story connects.
struct People {
    client: Person,
    stranger: Person,
    /// Labelled as a client, in another namespace.
    namesake: Person,
    monitor: Person,
}

struct Person {
    namespace: String,
    role: &'static str,
}

impl fmt::Display for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.role, self.namespace)
    }
}

impl People {
    async fn arrive(space: &Space, elsewhere: &Space) -> Self {
        Self {
            client: Person::arrive(space, "client").await,
            stranger: Person::arrive(space, "stranger").await,
            namesake: Person::arrive(elsewhere, "client").await,
            monitor: Person::arrive(elsewhere, "monitor").await,
        }
    }

    fn all(&self) -> [&Person; 4] {
        [&self.client, &self.stranger, &self.namesake, &self.monitor]
    }
}

impl Person {
    /// A pod of the image of Redis, whose client says what a server of any kind answers.
    async fn arrive(space: &Space, role: &'static str) -> Self {
        let restricted = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": role, "labels": { "role": role } },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "redis-cli",
                    "image": env::var("BIRBNEST_IMAGE_REDIS").unwrap(),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "securityContext": restricted,
                }],
            },
        });
        space.apply::<Pod>(&pod).await;
        Self {
            namespace: space.name.clone(),
            role,
        }
    }

    /// What an endpoint answers to this pod, within two seconds.
    async fn tries(&self, endpoint: &Endpoint) -> Outcome {
        let mut kubectl = Command::new("kubectl");
        kubectl
            .args(["--namespace", &self.namespace, "exec", self.role, "--"])
            .args([
                "timeout",
                "2",
                "redis-cli",
                "-h",
                &endpoint.address,
                "-p",
                endpoint.port,
                "PING",
            ]);
        let ran = tokio::task::spawn_blocking(move || kubectl.output()).await;
        let ran = ran.unwrap().unwrap();
        let told = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        match ran.status.code() {
            _ if told.contains(endpoint.greeting) => Outcome::Reached,
            Some(124) => Outcome::ShutOut, // so says timeout
            _ => Outcome::Neither(told),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Reached,
    ShutOut,
    Neither(String),
}

async fn until_reached(who: &Person, endpoints: &[&Endpoint]) {
    until(who, endpoints, &Outcome::Reached).await;
}

async fn until_shut_out(who: &Person, endpoints: &[&Endpoint]) {
    until(who, endpoints, &Outcome::ShutOut).await;
}

/// The network learns of a pod or a policy some moments after the API server.
async fn until(who: &Person, endpoints: &[&Endpoint], wanted: &Outcome) {
    eventually_within(NOTICED_WITHIN, &format!("{who}: {wanted:?}"), || async {
        let tried = join_all(endpoints.iter().map(|endpoint| who.tries(endpoint))).await;
        let others: Vec<_> = endpoints
            .iter()
            .zip(tried)
            .filter(|(_, outcome)| outcome != wanted)
            .collect();
        seen(others, Vec::is_empty)
    })
    .await;
}
