//! Who leads among servers that do something together.

use birbnest_core::{Partition, StreamNames};

use super::House;
use crate::{
    servers::{FAILOVER, NatsServer, RedisServer},
    wait::{eventually, eventually_within},
};

impl House {
    /// The members of its NATS cluster, or its only NATS.
    pub fn nats_members(&self) -> Vec<&NatsServer> {
        std::iter::once(&self.nats).chain(&self.nats_peers).collect()
    }

    /// The member that leads the stream of a partition, as soon as there is one.
    ///
    /// # Panics
    /// When there is none for half a minute.
    pub async fn until_led(&self, partition: Partition) -> &NatsServer {
        eventually("the stream has a leader", || self.nats_leader(partition)).await
    }

    async fn nats_leader(&self, partition: Partition) -> Result<&NatsServer, String> {
        let name = StreamNames::new(&self.config.stream.prefix).stream(partition);
        for member in self.nats_members() {
            let Ok(client) = member.connect().await else {
                continue;
            };
            let stream = async_nats::jetstream::new(client).get_stream(&name).await;
            let Ok(stream) = stream else { continue };
            let cluster = stream.cached_info().cluster.as_ref().ok_or("no cluster")?;
            let leader = cluster.leader.as_deref().ok_or("no leader")?;
            let found = self
                .nats_members()
                .into_iter()
                .find(|member| member.name() == leader);
            return found.ok_or_else(|| format!("{leader} is no member"));
        }
        Err("nobody answers".to_owned())
    }

    /// The Redis that takes writes, as soon as there is one, and the other one, if it has a replica.
    ///
    /// # Panics
    /// When there is none for [`FAILOVER`].
    pub async fn until_redis_master(&self) -> (&RedisServer, Option<&RedisServer>) {
        eventually_within(FAILOVER, "there is one Redis master", || self.redis_master()).await
    }

    /// Waits until one Redis has everything that the other has, so that it can take over.
    ///
    /// # Panics
    /// When it does not for [`FAILOVER`].
    pub async fn until_redis_is_replicated(&self) {
        eventually_within(FAILOVER, "one Redis follows the other", || async {
            match self.redis_master().await? {
                (master, Some(replica)) => replica.follows(master).await,
                (_, None) => Ok(()),
            }
        })
        .await;
    }

    async fn redis_master(&self) -> Result<(&RedisServer, Option<&RedisServer>), String> {
        let Some(sentinels) = &self.sentinels else {
            return Ok((&self.redis, None));
        };
        let (first, second) = (&self.redis, &sentinels.replica);
        match (first.is_master().await, second.is_master().await) {
            (true, false) => Ok((first, Some(second))),
            (false, true) => Ok((second, Some(first))),
            masters => Err(format!("{masters:?}")),
        }
    }
}
