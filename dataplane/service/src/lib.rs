//! What every BirbNest process needs around its work: logs, metrics, health, shutdown.
//!
//! A binary's `main` parses its arguments and calls [`launch`]; its `run(listener, …, shutdown)` registers a
//! [`Health`] check per backend, merges [`probes_router`] into its routes and hands them to [`serve`] or to its [`Cores`].

mod connections;
mod cores;
mod health;
mod launch;
mod logging;
mod mounted;
mod patience;
mod probes;
mod serve;
mod shutdown;
mod tls;

pub use connections::{Answers, Crowded, Drained};
pub use cores::{Bounds, Cores};
pub use health::{Check, Health, Heartbeat};
pub use launch::{EXIT_FAILURE, EXIT_INVALID_CONFIG, Threads, launch, launch_with};
pub use mounted::{Files, Mount, MountError};
pub use patience::Tight;
pub use probes::{PROBES, probes_router};
pub use serve::{listen, serve};
pub use shutdown::Shutdown;
pub use tls::Tls;
