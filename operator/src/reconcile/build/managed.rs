//! The backends that the operator runs: a single node each, for trying out.

use birbnest_crds::{ManagedRedisSpec, ManagedStoreSpec, SecretKeyRef};
use k8s_openapi::{
    api::core::v1::{EnvVar, ExecAction, HTTPGetAction, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Managed,
    credentials::{Credentials, Login, NATS_USER, POSTGRES_DATABASE},
    pod, security, service, service_account,
    stateful_set::{self, Server},
};
use crate::reconcile::validate::{Address, Component, ValidNest};

pub(super) fn build(nest: &ValidNest) -> Managed {
    let servers = servers(nest);
    if servers.is_empty() {
        return Managed::default();
    }
    Managed {
        credentials: Credentials::of(nest),
        service_accounts: vec![service_account::backends(&nest.id)],
        services: servers
            .iter()
            .map(|server| service::backend(&nest.id, server.component, server.ports))
            .collect(),
        stateful_sets: servers
            .iter()
            .map(|server| stateful_set::build(nest, server))
            .collect(),
    }
}

fn servers(nest: &ValidNest) -> Vec<Server> {
    let mut servers = Vec::new();
    if let Address::Managed(spec) = &nest.backends.redis {
        servers.push(redis(nest, spec));
    }
    if let Address::Managed(spec) = &nest.backends.nats {
        servers.push(nats(nest, spec));
    }
    if let Address::Managed(spec) = &nest.backends.postgres {
        servers.push(postgres(nest, spec));
    }
    servers
}

/// Without a volume: what it holds is a copy, and after a restart it is another generation anyway.
fn redis(nest: &ValidNest, spec: &ManagedRedisSpec) -> Server {
    let mebibytes = spec.max_memory_bytes >> 20;
    let (request, limit) = (mebibytes + mebibytes / 4, mebibytes + mebibytes / 2);
    let resources = pod::resources_or(
        &spec.resources,
        "50m",
        &format!("{request}Mi"),
        Some(&format!("{limit}Mi")),
    );
    Server {
        component: Component::Redis,
        image: nest.release.images.redis.clone(),
        account: security::BIRBNEST,
        ports: &[("redis", 6379)],
        environment: vec![
            password("REDIS_PASSWORD", nest, Login::Redis),
            variable("REDIS_MAXMEMORY", &spec.max_memory_bytes.to_string()),
        ],
        ready: tcp("redis"),
        resources,
        storage: None,
        grace_seconds: 10,
    }
}

fn nats(nest: &ValidNest, spec: &ManagedStoreSpec) -> Server {
    let healthy = HTTPGetAction {
        path: Some("/healthz?js-enabled-only=true".to_owned()),
        port: IntOrString::String("monitor".to_owned()),
        ..HTTPGetAction::default()
    };
    Server {
        component: Component::Nats,
        image: nest.release.images.nats.clone(),
        account: security::BIRBNEST,
        ports: &[("nats", 4222), ("monitor", 8222)],
        environment: vec![
            variable("NATS_USER", NATS_USER),
            password("NATS_PASSWORD", nest, Login::Nats),
            variable("NATS_STORE_DIR", stateful_set::DATA_FOLDER),
            // A single node: an acknowledged write must be on the disk, whatever it costs.
            variable("NATS_SYNC_INTERVAL", "always"),
        ],
        ready: Probe {
            http_get: Some(healthy),
            ..Probe::default()
        },
        resources: pod::resources_or(&spec.resources, "50m", "256Mi", None),
        storage: Some(spec.storage.clone()),
        grace_seconds: 30,
    }
}

fn postgres(nest: &ValidNest, spec: &ManagedStoreSpec) -> Server {
    let ask = ["pg_isready", "--quiet", "--host=127.0.0.1"]
        .map(str::to_owned)
        .into();
    Server {
        component: Component::Postgres,
        image: nest.release.images.postgres.clone(),
        account: security::POSTGRES,
        ports: &[("postgres", 5432)],
        environment: vec![
            variable("POSTGRES_USER", POSTGRES_DATABASE),
            variable("POSTGRES_DB", POSTGRES_DATABASE),
            password("POSTGRES_PASSWORD", nest, Login::PostgresOwner),
            // Below the volume's root, which PostgreSQL does not accept as its own.
            variable("PGDATA", &format!("{}/pgdata", stateful_set::DATA_FOLDER)),
        ],
        ready: Probe {
            exec: Some(ExecAction { command: Some(ask) }),
            ..Probe::default()
        },
        resources: pod::resources_or(&spec.resources, "50m", "256Mi", None),
        storage: Some(spec.storage.clone()),
        grace_seconds: 60,
    }
}

fn tcp(port: &str) -> Probe {
    let port = IntOrString::String(port.to_owned());
    Probe {
        tcp_socket: Some(TCPSocketAction { port, host: None }),
        ..Probe::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn password(name: &str, nest: &ValidNest, login: Login) -> EnvVar {
    pod::from_secret(
        name,
        &SecretKeyRef {
            name: nest.id.credentials(),
            key: login.password_key(),
        },
    )
}
