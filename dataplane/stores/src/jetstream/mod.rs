//! NATS JetStream: the log that holds every acknowledged write until PostgreSQL has it, and that orders them.

mod connection;
mod log;
pub mod provision;
mod session;
mod stored;

pub use connection::{InvalidAddress, addresses, connect};
pub use log::{AppendError, Log, ReadError};
pub use session::incarnation;
pub use stored::{UnreadableMessage, entry_of};
