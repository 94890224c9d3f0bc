//! The three stores: Redis for copies, JetStream for the order of writes, PostgreSQL for everything; and the fence,
//! which two of them share.

mod backends;
mod connectivity;
pub mod fence;
pub mod jetstream;
pub mod postgres;
pub mod redis;

pub use backends::{BackendError, Backends};
pub use connectivity::Connectivity;
