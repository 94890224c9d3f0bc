//! The drain: moves acknowledged writes from the persist streams into PostgreSQL, and keeps the streams short.
//!
//! Per partition, a batch passes left to right: [`source`] pulls messages, [`batch`] keeps the newest write of each key,
//! [`persist`] upserts them, [`refresh`] removes older copies from Redis and then acknowledges; [`poison`] moves what
//! cannot be written to the dead letters. While the database is away [`breaker`] stops them all. A message is acknowledged only when PostgreSQL holds it or something newer and no
//! reader can see anything older in Redis, or when it is a dead letter; being killed anywhere
//! on the way only means that messages come again, which versions make harmless. Beside that, the one leader's
//! [`janitor`] moves the mark, purges what is persisted, and sweeps the table.

mod batch;
mod breaker;
mod drain;
mod janitor;
mod metrics;
mod persist;
mod poison;
mod prime;
mod pull;
mod receipt;
mod refresh;
mod ripening;
mod room;
mod run;
mod size;
mod source;
mod source_health;

pub use run::{RunError, listen, run};
