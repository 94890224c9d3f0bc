//! How much a Redis keeps, and what it does when that is not enough: for whoever judges what it is told.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, InfoDict};

use super::{CacheError, address::Address};

/// What a server says of its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisMemory {
    /// Bytes above which it evicts or refuses; 0: as many as its machine has.
    pub limit: u64,
    /// What it evicts then, as `maxmemory-policy` has it.
    pub policy: String,
}

impl RedisMemory {
    /// Asks the server of this address, or the master that its sentinels name; `None` for a cluster, whose masters may
    /// differ.
    ///
    /// # Errors
    /// When the address cannot be read or the server does not answer in time.
    pub async fn ask(url: &str, limit: Duration) -> Result<Option<Self>, CacheError> {
        match Address::parse(url)? {
            Address::Server(mut server) => Ok(Some(of(&server.named().await?, limit).await?)),
            Address::Cluster(_) => Ok(None),
        }
    }
}

async fn of(server: &Client, limit: Duration) -> Result<RedisMemory, CacheError> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    let mut connection = server
        .get_multiplexed_async_connection_with_config(&limits)
        .await?;
    let told: InfoDict = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut connection)
        .await?;
    Ok(RedisMemory {
        limit: told.get("maxmemory").unwrap_or(0),
        policy: told.get("maxmemory_policy").unwrap_or_default(),
    })
}
