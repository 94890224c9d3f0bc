//! The words of BirbNest's protocol: keys, versions, records, the messages of the persist stream, and the
//! configuration file. Nothing here does I/O.

pub mod api_key;
mod budget;
pub mod config;
mod durability;
mod key;
mod layout;
mod message;
mod newest;
mod record;
mod stream;
mod timestamp;
mod version;

/// What is said of a backend until the first attempt to reach it is over.
pub const NOT_REACHED: &str = "not reached yet";

pub use budget::{Budget, Share, counted};
pub use durability::{Durability, OnQueueOutage, WriteMode};
pub use key::{
    EntryId, EntryKey, InstanceName, InvalidInstance, InvalidKey, KeyHash, MAX_KEY_CHARS, Partition,
};
pub use layout::{Layout, MAX_PARTITIONS};
pub use message::{BASE_HEADER, InvalidMessage, decode, encode};
pub use newest::newest;
pub use record::{CREATED_AT_OFFSET, Content, Entry, Record};
pub use stream::{DrainTerm, Incarnation, StreamNames};
pub use timestamp::{TIMESTAMP_LEN, Timestamp};
pub use version::{Base, Version, VersionOverflow};
