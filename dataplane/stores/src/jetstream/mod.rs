//! NATS JetStream: the log that holds every acknowledged write until PostgreSQL has it, and that orders them.

mod connection;
mod dead_letter;
mod dead_letters;
mod error;
mod lives;
mod log;
mod progress;
pub mod provision;
mod pulse;
mod reach;
mod session;
mod stored;
mod switch;
mod take_back;
mod turn;

pub use connection::{InvalidAddress, addresses, connect};
pub use dead_letter::{DeadLetter, Waiting};
pub use dead_letters::DeadLetters;
pub use error::{AppendError, ReadError};
pub use lives::{LifeError, Lives};
pub use log::Log;
pub use progress::{Progress, Queued, first_above, settled_through};
pub use stored::{UnreadableMessage, entry_of, highest_version, version_in};
pub use turn::{Expected, Last, Turn, last_entry};
