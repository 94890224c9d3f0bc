//! NATS JetStream: the log that holds every acknowledged write until PostgreSQL has it, and that orders them.

mod connection;
mod error;
mod log;
pub mod provision;
mod session;
mod stored;
mod turn;

pub use connection::{InvalidAddress, addresses, connect};
pub use error::{AppendError, ReadError};
pub use log::Log;
pub use session::incarnation;
pub use stored::{UnreadableMessage, entry_of};
pub use turn::{Expected, Last, Turn};
