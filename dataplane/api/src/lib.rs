//! The HTTP service: routes, handlers, the write path and the read path.
//!
//! A request passes each room once: [`limits`] lets it in, [`routes`] finds its handler, an extractor of [`request`]
//! parses it, [`write`] or [`read`] does the work on the stores, [`response`] says what came of it.

mod app;
mod flight;
mod limits;
mod metrics;
mod problem;
mod read;
mod request;
mod response;
mod routes;
mod run;
mod write;

pub use run::{RunError, run};
