//! Real Redis, NATS and PostgreSQL as child processes on loopback.
//!
//! Most tests take the servers that their binary shares (`shared()`), with a database, a stream prefix and a key
//! prefix of their own; a test that stops or kills a server starts one for itself (`start_new`). All of them end
//! with the test process, however that ends.

mod clock;
mod disk;
mod keeper;
mod link;
mod nats;
mod place;
mod postgres;
mod process;
mod redis;
mod redis_cluster;
mod running;
mod sentinels;

pub use disk::Disk;
pub use link::Link;
pub use nats::NatsServer;
pub use place::{free_port, fresh_directory, program};
pub use postgres::PostgresServer;
pub use process::{Process, Recipe};
pub use redis::{FAILOVER, RedisServer};
pub use redis_cluster::RedisCluster;
pub use running::Running;
pub use sentinels::Sentinels;
