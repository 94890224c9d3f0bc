//! Scales the workers on queue depth.

mod brake;
mod decision;
mod rates;
mod reason;
mod run;
mod targets;

pub use decision::{Autoscaler, Decision, Rule};
pub use rates::Sample;
pub use reason::Reason;
pub use run::run;
pub use targets::{Target, Targets};
