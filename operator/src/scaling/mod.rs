//! Scales the workers on queue depth.

mod brake;
mod decision;
mod rates;
mod reason;

pub use decision::{Autoscaler, Decision, Rule};
pub use rates::Sample;
pub use reason::Reason;
