//! Why a nest cannot be built.

use birbnest_crds::SecretKeyRef;

use super::Backend;

/// Why a BirbNest cannot be built. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The object did not come from the API server.
    #[error("the BirbNest has no {0} in its metadata: apply it to a cluster")]
    Incomplete(&'static str),
    /// The API server lets this through only when its definition is older than the operator.
    #[error("the spec is not valid: {0}; install the CustomResourceDefinition that came with this operator")]
    OutOfBounds(String),
    /// The Secret is not there.
    #[error(
        "spec.{}.{field} names the Secret {}, which does not exist: create it with the address under the key {}",
        .backend.field(), .reference.name, .reference.key
    )]
    SecretNotFound {
        /// Whose address it should hold.
        backend: Backend,
        /// The field below the backend's that names it.
        field: &'static str,
        /// What was looked for.
        reference: SecretKeyRef,
    },
    /// The Secret is there, but not the key, or it is empty.
    #[error(
        "spec.{}.{field} names the key {} of the Secret {}, which has no such key or nothing in it: add the address",
        .backend.field(), .reference.key, .reference.name
    )]
    SecretKeyNotFound {
        /// Whose address it should hold.
        backend: Backend,
        /// The field below the backend's that names it.
        field: &'static str,
        /// What was looked for.
        reference: SecretKeyRef,
    },
    /// A Secret that pods should mount is not there.
    #[error("{field} names the Secret {name}, which does not exist: create it with {needed}")]
    MountNotFound {
        /// Where it is named.
        field: &'static str,
        /// The Secret.
        name: String,
        /// What it should hold.
        needed: &'static str,
    },
    /// A Secret that pods should mount does not hold what they need.
    #[error("{field} names the Secret {name}, which lacks {needed}: add it")]
    MountIncomplete {
        /// Where it is named.
        field: &'static str,
        /// The Secret.
        name: String,
        /// What it should hold.
        needed: &'static str,
    },
    /// The spec asks for an object of a kind that the cluster does not have.
    #[error(
        "{field} asks for an object of the kind {kind}, which this cluster does not have: install {from}, or take the field away"
    )]
    KindNotInstalled {
        /// What asks for it.
        field: &'static str,
        /// The kind.
        kind: &'static str,
        /// Where it comes from.
        from: &'static str,
    },
    /// What the Secret holds is no address of this kind of backend.
    #[error(
        "the key {} of the Secret {}, named by spec.{}.{field}, does not hold an address that starts with {}://: correct it",
        .reference.key, .reference.name, .backend.field(), .backend.schemes().join(":// or ")
    )]
    AddressMalformed {
        /// Whose address it should hold.
        backend: Backend,
        /// The field below the backend's that names it.
        field: &'static str,
        /// Where it stands.
        reference: SecretKeyRef,
    },
}

/// What has to happen before another look is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The spec has to change; the watch tells.
    Spec,
    /// Another object has to change.
    Reference,
}

impl Category {
    /// Its label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Reference => "reference",
        }
    }
}

impl Invalid {
    /// What has to happen before another look is worth while.
    pub const fn category(&self) -> Category {
        match self {
            Self::Incomplete(_) | Self::OutOfBounds(_) => Category::Spec,
            Self::SecretNotFound { .. }
            | Self::SecretKeyNotFound { .. }
            | Self::MountNotFound { .. }
            | Self::MountIncomplete { .. }
            | Self::KindNotInstalled { .. }
            | Self::AddressMalformed { .. } => Category::Reference,
        }
    }

    /// The reason of conditions and events.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Incomplete(_) | Self::OutOfBounds(_) => "SpecInvalid",
            Self::SecretNotFound { .. } | Self::MountNotFound { .. } => "SecretNotFound",
            Self::SecretKeyNotFound { .. } | Self::MountIncomplete { .. } => "SecretKeyNotFound",
            Self::KindNotInstalled { .. } => "KindNotInstalled",
            Self::AddressMalformed { .. } => "AddressMalformed",
        }
    }
}
