//! BirbNest on loopback: the real binaries and the data plane's rooms, with real servers.
//!
//! One program, for each would be linked with everything; `cargo test --release --workspace --test loopback -- faults::`
//! runs one of its modules.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the steps of a story fail it like the story itself"
)]

mod cache_model;
mod dead_letters;
mod faults;
mod http;
mod increments;
mod instrument;
mod life;
mod migrate;
mod nats_cluster;
mod partitions;
mod postgres_standby;
mod postgres_store;
mod pressure;
mod redis_cluster;
mod redis_sentinel;
mod servers;
mod worker;
mod write_through;
