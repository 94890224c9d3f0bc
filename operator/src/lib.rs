//! The operator: a controller that reconciles `BirbNest` resources into everything they need, and scales their workers.
//!
//! [`run`] wires it: watches feed the controller, whose [`reconcile`] passes each nest through five stages; what
//! reconciliation hands over, [`scaling`] measures and scales; [`leader`] says which of several operators may write.
#![allow(
    clippy::large_futures,
    reason = "objects of Kubernetes are kilobytes each; a reconciliation is boxed once, where it starts"
)]

pub mod address;
pub mod answers;
pub mod backoff;
pub mod children;
mod cli;
pub mod cluster;
pub mod contests;
pub mod context;
pub mod error;
pub mod events;
pub mod kinds;
pub mod leader;
pub mod metrics;
pub mod posture;
pub mod pulse;
pub mod reconcile;
mod run;
pub mod scaling;
pub mod scope;
pub mod streams;

use birbnest_crds::BirbNest;
use kube::core::DeserializeGuard;

pub use cli::Cli;
pub use run::{RunError, run};

/// A nest, or why an object of that kind cannot be read as one: a broken object never stops the others.
pub type GuardedNest = DeserializeGuard<BirbNest>;
