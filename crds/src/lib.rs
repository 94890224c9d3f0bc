//! The BirbNest resource: `birbnest.dev/v1alpha1`.
//!
//! These types are the schema: field descriptions are what `kubectl explain` prints, bounds and rules are what the API
//! server enforces. Values that a process reads have the defaults and bounds of [`birbnest_core::config`]; a test holds
//! the two together.

#![allow(
    clippy::doc_markdown,
    reason = "`kubectl explain` prints these comments, backticks included"
)]

mod access;
mod api;
mod backends;
mod cache;
mod manifest;
mod monitoring;
mod nest;
mod network;
mod pod;
mod resources;
mod rules;
mod status;
mod worker;

pub use access::{
    ApiAuthSpec, ApiHttpRouteSpec, ApiIngressSpec, ApiKeysSpec, ApiServiceSpec, ApiTlsSpec, GatewayRef,
    ServiceType,
};
pub use api::{ApiAutoscalingSpec, ApiSpec};
pub use backends::{
    ManagedRedisSpec, ManagedStoreSpec, NatsSpec, PostgresSpec, RedisSpec, SecretKeyRef, StreamSpec,
    UrlSource,
};
pub use cache::{CacheSpec, PrimeSpec};
pub use manifest::{definition, manifest};
pub use monitoring::MonitoringSpec;
pub use nest::{BirbNest, BirbNestSpec, DeletionPolicy, LogSpec};
pub use network::NetworkPoliciesSpec;
pub use pod::{ImagePullPolicy, PodSpec};
pub use resources::ResourcesSpec;
pub use status::{ApiStatus, BirbNestStatus, PartitionsStatus, PersistedThrough, QueueStatus, WorkersStatus};
pub use worker::{BatchSpec, RetrySpec, WorkerAutoscalingSpec, WorkerSpec};
