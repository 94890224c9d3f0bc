//! The three stores: Redis for copies, JetStream for the order of writes, PostgreSQL for everything; and the fence,
//! which two of them share.

mod backends;
mod connectivity;
pub mod epoch;
pub mod fence;
pub mod jetstream;
mod lease;
pub mod postgres;
pub mod redis;

pub use backends::{BackendError, Backends};
pub use connectivity::Connectivity;

/// For what counts milliseconds in 64 bits; longer than these is as good as for ever.
fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
