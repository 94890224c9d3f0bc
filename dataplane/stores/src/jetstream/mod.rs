//! NATS JetStream: the log that holds every acknowledged write until PostgreSQL has it, and that orders them.

mod connection;
mod log;
pub mod provision;
mod session;

pub use connection::{InvalidAddress, addresses, connect};
pub use log::{AppendError, Log, ReadError, entry_of};
pub use session::incarnation;
