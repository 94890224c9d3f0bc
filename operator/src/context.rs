//! What every reconciliation and the scaling loop work with.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use crate::{
    GuardedNest,
    backoff::Backoff,
    children::Children,
    cluster::Cluster,
    contests::Contests,
    events::Events,
    kinds::Kinds,
    metrics::Metrics,
    posture::Postures,
    reconcile::{NestId, Release},
    scaling::Targets,
    streams::Connections,
};

/// What every reconciliation and the scaling loop work with.
pub struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// What is rolled out.
    pub release: Release,
    /// Kinds that not every cluster has.
    pub kinds: Kinds,
    /// The NATS of each nest.
    pub connections: Connections,
    /// What the backends of each nest promise.
    pub postures: Postures,
    /// What the watches told of the children.
    pub children: Arc<Children>,
    /// Who else scales what the operator scales.
    pub contests: Contests,
    /// The nests whose workers are scaled.
    pub targets: Targets,
    /// Where events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// Failures in a row.
    pub failures: Backoff,
    /// Asks for a reconciliation.
    pub nudges: mpsc::UnboundedSender<ObjectRef<GuardedNest>>,
}

/// A context that is shared.
pub type SharedContext = Arc<Context>;

impl Context {
    /// Asks for a reconciliation of the nest.
    pub fn nudge(&self, id: &NestId) {
        // Nobody listens only when the process ends.
        let _ended = self.nudges.send(ObjectRef::new(id.name()).within(id.namespace()));
    }

    /// The nest is gone: nothing is kept about it.
    pub async fn forget(&self, id: &NestId) {
        self.targets.forget(id);
        self.contests.forget(id);
        self.failures.forget(id);
        self.metrics.forget_all(id);
        self.postures.forget(id);
        self.cluster.forget_gone();
        self.connections.close(id).await;
    }
}
