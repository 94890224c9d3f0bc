//! The operator: a controller that reconciles `BirbNest` resources into everything they need, and scales their workers.

pub mod reconcile;
pub mod scaling;
