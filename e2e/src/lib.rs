//! The harness of BirbNest's end-to-end tests.
//!
//! - [`servers`]: real Redis, NATS and PostgreSQL as child processes on loopback.
//! - [`house`]: a whole BirbNest on loopback, as the real binaries.
//! - [`certificate`], [`client`], [`load`], [`table`], [`ledger`]: who writes, what PostgreSQL holds, and whether promises were kept.
//! - [`slow`]: clients that take their time.
//! - [`instrument`]: everybody is killed under load, and a checker proves that the promises were kept.
//! - [`cluster`]: namespaces, nests and backends on a real cluster.
//! - [`wait`]: conditions with a deadline.
//!
//! The stories themselves are in `tests/`. A harness fails a test by panicking, with what it waited for in the
//! message: that is why panics, denied elsewhere, are allowed here.
#![allow(clippy::panic, reason = "a harness fails its test by panicking")]
#![allow(
    clippy::missing_panics_doc,
    reason = "everything here panics when its test has failed"
)]

pub mod certificate;
pub mod client;
pub mod cluster;
pub mod house;
pub mod instrument;
pub mod ledger;
pub mod load;
pub mod servers;
pub mod slow;
pub mod table;
pub mod wait;
