//! The backends that the operator runs.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::ResourceExt;
use rand::distr::{Alphanumeric, SampleString};

use super::owner::Owner;
use crate::{
    cluster::{Cluster, ClusterError},
    reconcile::{
        build::{Credentials, GeneratedKeys, Managed},
        dereference::text,
        facts::{Step, Why, is_ready},
        validate::NestId,
    },
};

const PASSWORD_LENGTH: usize = 32;

/// What was answered about them.
#[derive(Default)]
pub(in crate::reconcile) struct Backends {
    sets: Vec<StatefulSet>,
    /// The address of a managed NATS, with its password.
    pub(in crate::reconcile) nats: Option<String>,
}

impl Backends {
    /// Backends of which only the address of NATS is known.
    pub(in crate::reconcile) fn known(nats: Option<String>) -> Self {
        Self {
            sets: Vec::new(),
            nats,
        }
    }

    /// Whether every one serves.
    pub(in crate::reconcile) fn all_ready(&self) -> Step<()> {
        let unready: Vec<String> = self
            .sets
            .iter()
            .filter(|set| !is_ready(set))
            .map(ResourceExt::name_any)
            .collect();
        if unready.is_empty() {
            return Ok(());
        }
        Err(Why::waiting(
            "BackendsStarting",
            format!("waiting for the managed {}", unready.join(", ")),
        ))
    }

    /// Their names.
    pub(in crate::reconcile) fn names(&self) -> Vec<String> {
        self.sets.iter().map(ResourceExt::name_any).collect()
    }
}

pub(super) async fn apply(
    cluster: &Cluster,
    owner: &Owner,
    id: &NestId,
    plan: Managed,
) -> Result<Backends, ClusterError> {
    let nats = match &plan.credentials {
        Some(credentials) => keep_credentials(cluster, id, credentials).await?,
        None => None,
    };
    for account in plan.service_accounts {
        cluster.apply(&owner.own(account)).await?;
    }
    for service in plan.services {
        cluster.apply(&owner.own(service)).await?;
    }
    let mut sets = Vec::new();
    for set in plan.stateful_sets {
        sets.push(cluster.apply(&owner.own(set)).await?);
    }
    Ok(Backends { sets, nats })
}

/// Passwords are made once. Gives the address of NATS, if that is managed.
async fn keep_credentials(
    cluster: &Cluster,
    id: &NestId,
    wanted: &Credentials,
) -> Result<Option<String>, ClusterError> {
    let found = cluster.read::<Secret>(id.namespace(), &wanted.name()).await?;
    let kept = match (wanted.complete(found.as_ref(), password), found) {
        (Some(secret), None) => cluster.create(&secret).await?,
        (Some(secret), Some(_)) => cluster.apply(&secret).await?,
        (None, Some(secret)) => secret,
        (None, None) => return Ok(None),
    };
    Ok(text(&kept, "nats-url"))
}

/// Made once, for clients have it.
pub(super) async fn keep_api_keys(
    cluster: &Cluster,
    id: &NestId,
    wanted: &GeneratedKeys,
) -> Result<(), ClusterError> {
    if cluster
        .read::<Secret>(id.namespace(), &wanted.name())
        .await?
        .is_none()
    {
        cluster.create(&wanted.secret(password())).await?;
    }
    Ok(())
}

fn password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH)
}
