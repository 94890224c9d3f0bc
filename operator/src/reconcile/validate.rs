//! The second stage: from what a user wrote and what the cluster holds to values that cannot be wrong any more.

mod access;
mod id;
mod invalid;
mod secrets;
mod settings;

use std::time::Duration;

use birbnest_core::config::Config;
use birbnest_crds::{
    BirbNest, ImagePullPolicy, ManagedRedisSpec, ManagedStoreSpec, MonitoringSpec, NetworkPoliciesSpec,
    PodSpec, ResourcesSpec, SecretKeyRef, UrlSource, WorkerAutoscalingSpec,
};

pub use access::{Access, ApiKeys};
pub use id::{Component, NestId};
pub use invalid::{Category, Invalid};
pub use secrets::{Digest, SecretContent, SecretDigests, mounted_secrets, named_secrets};
pub use settings::{API_KEYS_FOLDER, TLS_FOLDER};

/// What the operator was told about the software that it rolls out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The images.
    pub images: Images,
    /// The newest migration that the data-plane image carries.
    pub schema_version: i64,
    /// Where the operator runs.
    pub namespace: String,
    /// Address of the page of runbooks that alerts name.
    pub runbooks: String,
}

/// Names of the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// API, worker and migration; a BirbNest may name another one.
    pub birbnest: String,
    /// Redis of `spec.redis.managed`.
    pub redis: String,
    /// NATS of `spec.nats.managed`.
    pub nats: String,
    /// PostgreSQL of `spec.postgres.managed`.
    pub postgres: String,
    /// When they are pulled; none: as Kubernetes decides by the tag.
    pub pull_policy: Option<ImagePullPolicy>,
}

/// A BirbNest whose every value was checked and whose every default is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidNest {
    /// Its name and the names derived from it.
    pub id: NestId,
    /// Where the backends are.
    pub backends: Backends,
    /// What the data plane is told: the whole of it, of which each component gets its sections.
    pub settings: Config,
    /// How the HTTP API is reached, and by whom.
    pub access: Access,
    /// Number of API pods.
    pub api_replicas: ApiReplicas,
    /// Compute resources of an API pod, as asked for.
    pub api_resources: ResourcesSpec,
    /// Number of workers.
    pub worker_range: WorkerRange,
    /// Compute resources of a worker, as asked for.
    pub worker_resources: ResourcesSpec,
    /// What the pods have beyond what the operator sets.
    pub pod: PodSpec,
    /// Who may open connections to them.
    pub network_policies: NetworkPoliciesSpec,
    /// Whether Prometheus is told of them.
    pub monitoring: MonitoringSpec,
    /// Images, the nest's own data-plane image in place of the operator's.
    pub release: Release,
}

/// Connections of the janitor that leads, and of a migration.
const BESIDE_PODS: i64 = 2;

impl ValidNest {
    /// Where applications in the cluster reach the HTTP API.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.access.scheme(), self.id.host(Component::Api))
    }

    /// Connections to PostgreSQL that all pods may open together, and the leader's and the migration's own.
    pub fn most_connections(&self) -> i64 {
        let pods = self.most_apis() + i64::from(self.worker_range.max);
        pods * self.connections_of_a_pod() + BESIDE_PODS
    }

    /// Workers that can have all their connections when so many are left for the nest and the API pods have theirs; at
    /// least one, without which nothing is persisted at all.
    pub fn workers_within(&self, connections: i64) -> u32 {
        let pods = (connections - BESIDE_PODS) / self.connections_of_a_pod();
        u32::try_from(pods - self.most_apis()).unwrap_or(0).max(1)
    }

    fn most_apis(&self) -> i64 {
        match self.api_replicas {
            ApiReplicas::Fixed(replicas) => replicas.into(),
            ApiReplicas::Autoscaled { max, .. } => max.into(),
        }
    }

    fn connections_of_a_pod(&self) -> i64 {
        i64::from(self.settings.postgres.max_connections).max(1)
    }
}

/// Where the backends are.
#[derive(Clone, Debug, PartialEq)]
pub struct Backends {
    /// The cache in front.
    pub redis: Address<ManagedRedisSpec>,
    /// The log.
    pub nats: Address<ManagedStoreSpec>,
    /// The database behind.
    pub postgres: Address<ManagedStoreSpec>,
    /// The same with the role that owns the tables, where that is another one.
    pub postgres_owner: Option<Address<ManagedStoreSpec>>,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq)]
pub enum Address<M> {
    /// Somewhere else; the address is in a Secret of the user.
    Secret {
        /// The Secret's key.
        reference: SecretKeyRef,
        /// What it held when it was looked at.
        digest: Digest,
    },
    /// Somewhere else; the address holds no password and stands in the spec.
    Plain(String),
    /// In a `StatefulSet` that the operator runs; address and password are in [`NestId::credentials`].
    Managed(M),
}

impl<M> Address<M> {
    /// Whether the operator runs it.
    pub const fn is_managed(&self) -> bool {
        matches!(self, Self::Managed(_))
    }
}

/// Who says how many API pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiReplicas {
    /// The spec.
    Fixed(i32),
    /// A `HorizontalPodAutoscaler`.
    Autoscaled {
        /// At least so many.
        min: i32,
        /// At most so many.
        max: i32,
        /// Mean CPU use that it aims at, in percent of the request.
        target_cpu_percent: i32,
    },
}

/// How many workers there may be, and what the number follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerRange {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Queued messages per worker while the speed of a worker is unknown.
    pub target_queue_depth: u64,
    /// Time in which a backlog should be drained.
    pub drain_target: Duration,
    /// How long fewer workers must have been enough before their number goes down.
    pub scale_down_stabilization: Duration,
}

/// One of the three backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// The cache in front.
    Redis,
    /// The log.
    Nats,
    /// The database behind.
    Postgres,
}

impl Backend {
    /// Its field below `spec`.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
        }
    }

    const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &[
                "redis",
                "rediss",
                "redis-sentinel",
                "rediss-sentinel",
                "redis-cluster",
                "rediss-cluster",
            ],
            Self::Nats => &["nats", "tls"],
            Self::Postgres => &["postgres", "postgresql"],
        }
    }
}

/// Checks a BirbNest against what the Secrets that it names hold ([`named_secrets`]).
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(nest: &BirbNest, secrets: &SecretDigests, release: &Release) -> Result<ValidNest, Invalid> {
    let id = NestId::of(nest)?;
    let spec = &nest.spec;
    let settings = settings::of(&id, spec)?;
    let redis = address(
        Backend::Redis,
        None,
        spec.redis.url_from.as_ref(),
        spec.redis.managed.as_ref(),
        secrets,
    )?;
    let nats = address(
        Backend::Nats,
        spec.nats.url.as_ref(),
        spec.nats.url_from.as_ref(),
        spec.nats.managed.as_ref(),
        secrets,
    )?;
    let postgres = address(
        Backend::Postgres,
        None,
        spec.postgres.url_from.as_ref(),
        spec.postgres.managed.as_ref(),
        secrets,
    )?;
    let owner = spec.postgres.owner_url_from.as_ref();
    let postgres_owner = match &postgres {
        Address::Managed(managed) => Some(Address::Managed(managed.clone())),
        _ => owner
            .map(|source| secret_address(Backend::Postgres, "ownerUrlFrom", &source.secret_key_ref, secrets))
            .transpose()?,
    };
    Ok(ValidNest {
        id,
        backends: Backends {
            redis,
            nats,
            postgres,
            postgres_owner,
        },
        settings,
        access: Access::of(&spec.api, secrets)?,
        api_replicas: api_replicas(nest),
        api_resources: spec.api.resources.clone(),
        worker_range: worker_range(&spec.worker.autoscaling)?,
        worker_resources: spec.worker.resources.clone(),
        pod: spec.pod.clone(),
        network_policies: spec.network_policies.clone(),
        monitoring: spec.monitoring.clone(),
        release: release_for(&spec.pod, release),
    })
}

fn address<M: Clone>(
    backend: Backend,
    plain: Option<&String>,
    secret: Option<&UrlSource>,
    managed: Option<&M>,
    secrets: &SecretDigests,
) -> Result<Address<M>, Invalid> {
    match (plain, secret, managed) {
        (Some(url), None, None) => Ok(Address::Plain(url.clone())),
        (None, Some(source), None) => secret_address(backend, "urlFrom", &source.secret_key_ref, secrets),
        (None, None, Some(managed)) => Ok(Address::Managed(managed.clone())),
        _ => Err(Invalid::OutOfBounds(format!(
            "spec.{} takes exactly one kind of address",
            backend.field()
        ))),
    }
}

fn secret_address<M>(
    backend: Backend,
    field: &'static str,
    reference: &SecretKeyRef,
    secrets: &SecretDigests,
) -> Result<Address<M>, Invalid> {
    let reference = reference.clone();
    match secrets.get(&reference) {
        SecretContent::NoSecret => Err(Invalid::SecretNotFound {
            backend,
            field,
            reference,
        }),
        SecretContent::NoKey => Err(Invalid::SecretKeyNotFound {
            backend,
            field,
            reference,
        }),
        SecretContent::Address { scheme, .. } if !backend.schemes().contains(&scheme.as_str()) => {
            Err(Invalid::AddressMalformed {
                backend,
                field,
                reference,
            })
        }
        SecretContent::Address { digest, .. } => Ok(Address::Secret { reference, digest }),
    }
}

fn api_replicas(nest: &BirbNest) -> ApiReplicas {
    let api = &nest.spec.api;
    match &api.autoscaling {
        Some(scaling) => ApiReplicas::Autoscaled {
            min: scaling.min,
            max: scaling.max,
            target_cpu_percent: scaling.target_cpu_percent,
        },
        None => ApiReplicas::Fixed(api.replicas.unwrap_or(2)),
    }
}

fn worker_range(spec: &WorkerAutoscalingSpec) -> Result<WorkerRange, Invalid> {
    if spec.min > spec.max {
        return Err(Invalid::OutOfBounds(
            "worker.autoscaling.min is above worker.autoscaling.max".to_owned(),
        ));
    }
    Ok(WorkerRange {
        min: settings::whole("worker.autoscaling.min", spec.min)?,
        max: settings::whole("worker.autoscaling.max", spec.max)?,
        target_queue_depth: settings::whole("worker.autoscaling.targetQueueDepth", spec.target_queue_depth)?,
        drain_target: spec.drain_target.get(),
        scale_down_stabilization: spec.scale_down_stabilization.get(),
    })
}

fn release_for(pod: &PodSpec, release: &Release) -> Release {
    let mut release = release.clone();
    if let Some(image) = &pod.image {
        release.images.birbnest.clone_from(image);
    }
    release
}

#[cfg(test)]
mod tests;
