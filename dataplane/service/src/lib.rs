//! What every BirbNest process needs around its work: logs, metrics, health, shutdown.
//!
//! A binary's `main` parses its arguments and calls [`launch`]; its `run(listener, …, shutdown)` registers a
//! [`Health`] check per backend, merges [`probes_router`] into its routes and hands them to [`serve`].

mod health;
mod launch;
mod logging;
mod probes;
mod serve;
mod shutdown;

pub use health::{Check, Health, Heartbeat};
pub use launch::{EXIT_FAILURE, EXIT_INVALID_CONFIG, launch, launch_with};
pub use probes::probes_router;
pub use serve::{Drained, serve};
pub use shutdown::Shutdown;
