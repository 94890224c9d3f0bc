//! Who is struck.

use std::fmt;

use crate::{
    house::{House, Member},
    servers::{Link, Process},
};

/// A process or server of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of the APIs.
    Api,
    /// Every worker.
    Workers,
    /// Redis.
    Redis,
    /// NATS.
    Nats,
    /// PostgreSQL.
    Postgres,
}

impl Target {
    fn processes(self, house: &House) -> Vec<&Process> {
        match self {
            Self::Api => vec![house.api().process()],
            Self::Workers => house.workers.iter().map(Member::process).collect(),
            Self::Redis => vec![house.redis.process()],
            Self::Nats => vec![house.nats.process()],
            Self::Postgres => vec![house.postgres.process()],
        }
    }

    pub(super) fn kill(self, house: &House) {
        self.processes(house).into_iter().for_each(Process::kill9);
    }

    /// A server is waited for. A process of ours is not: it is ready when its servers are.
    pub(super) async fn start(self, house: &House) {
        match self {
            Self::Api | Self::Workers => self.processes(house).into_iter().for_each(Process::start),
            Self::Redis => house.redis.start().await,
            Self::Nats => house.nats.start().await,
            Self::Postgres => house.postgres.start().await,
        }
    }

    pub(super) async fn freeze(self, house: &House) {
        for process in self.processes(house) {
            process.freeze().await;
        }
    }

    pub(super) fn thaw(self, house: &House) {
        self.processes(house).into_iter().for_each(Process::thaw);
    }

    /// Takes effect at the next start.
    pub(super) fn shift_clock(self, house: &House, seconds: i64) {
        for process in self.processes(house) {
            process.shift_clock(seconds);
        }
    }

    /// The way of one API and one worker to this server.
    ///
    /// # Panics
    /// When it is no server.
    pub(super) fn link(self, house: &House) -> &Link {
        let links = house.links();
        match self {
            Self::Redis => &links.redis,
            Self::Nats => &links.nats,
            Self::Postgres => &links.postgres,
            Self::Api | Self::Workers => panic!("{self} is no server"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "an API",
            Self::Workers => "the workers",
            Self::Redis => "Redis",
            Self::Nats => "NATS",
            Self::Postgres => "PostgreSQL",
        })
    }
}
