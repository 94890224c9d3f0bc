//! What can go wrong in a reconciliation, and what has to happen before another try is worth while.

use std::time::Duration;

use crate::{
    cluster::ClusterError,
    reconcile::{BuildError, Category, Invalid},
};

/// How often a Secret is looked for that a nest names and that is not there: nobody tells when it comes.
const REFERENCE_LOOK: Duration = Duration::from_secs(10);

/// Why a reconciliation ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The spec, or something that it names.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The objects could not be written down.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The object does not have the shape of a BirbNest.
    #[error(
        "this cannot be read as a BirbNest: {0}; correct the object, or install the CustomResourceDefinition that came with this operator"
    )]
    Malformed(String),
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// When the object changes.
    OnChange,
    /// After this time.
    After(Duration),
    /// After a time that grows with each failure.
    Backoff,
}

impl ReconcileError {
    /// Its label in metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Cluster(ClusterError::NotLeading(_)) => "not_leading",
            Self::Cluster(ClusterError::Api { .. }) => "api_server",
            Self::Invalid(invalid) => invalid.category().as_str(),
            Self::Build(_) => "build",
            Self::Malformed(_) => "malformed",
        }
    }

    /// The reason of conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cluster(ClusterError::NotLeading(_)) => "NotLeading",
            Self::Cluster(ClusterError::Api { .. }) => "ApiServerError",
            Self::Invalid(invalid) => invalid.reason(),
            Self::Build(_) => "BuildFailed",
            Self::Malformed(_) => "Malformed",
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            // Whoever leads next reconciles everything.
            Self::Cluster(ClusterError::NotLeading(_)) | Self::Malformed(_) | Self::Build(_) => {
                Retry::OnChange
            }
            Self::Cluster(ClusterError::Api { .. }) => Retry::Backoff,
            Self::Invalid(invalid) => match invalid.category() {
                Category::Spec => Retry::OnChange,
                Category::Reference => Retry::After(REFERENCE_LOOK),
            },
        }
    }

    /// Whether a person has to act, as far as one can tell: kstatus calls it stalled.
    pub fn stalls(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Build(_) | Self::Malformed(_))
    }
}
