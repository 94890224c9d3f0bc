//! The HTTP service: routes, handlers, the write path and the read path.
//!
//! A request passes each room once: it comes in at [`front`], [`limits`] lets it in, [`routes`] finds its handler, an
//! extractor of [`request`] parses it, [`write`] or [`read`] does the work on the stores, [`response`] says what came of
//! it. A write that depends on what is there goes through [`decide`]; one that waits for PostgreSQL through [`durable`];
//! while NATS is away PostgreSQL may take writes [`through`] itself. [`dead_letters`], [`replay`], [`prime`] and
//! [`watermarks`] are for administrators. Each core has connections to Redis and NATS of its own.

mod app;
mod arithmetic;
mod change;
mod conditions;
mod dead_letters;
mod decide;
mod durable;
mod flight;
mod front;
mod keys;
mod limits;
mod metrics;
mod patch;
mod prime;
mod problem;
mod read;
mod replay;
mod request;
mod response;
mod routes;
mod run;
mod sources;
mod terms;
mod through;
mod watermarks;
mod write;
mod writers;

pub use run::{RunError, run};
