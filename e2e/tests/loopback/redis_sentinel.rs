//! A Redis with a replica and sentinels: its master may die, or be replaced without noticing.

use std::time::Duration;

use birbnest_core::{
    EntryId, Layout, Partition, Version,
    config::{CacheConfig, Period, RedisConfig},
};
use birbnest_e2e::{
    house::House,
    load::Load,
    servers::RedisServer,
    wait::{eventually, seen},
};
use birbnest_stores::redis::{Cache, Cached, Found, Generations};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_costs_no_read_and_no_write_and_its_replica_serves_hits() {
    let house = House::plan().apis(2).redis_sentinels().open().await;
    let sentinels = house.sentinels.as_ref().unwrap();
    house.put("robin", json!(1)).await.expect(201);
    house.until_purged().await;
    house.api().client.until_hit("robin").await;
    let load = Load::start(&house.clients(), 4, 100, Duration::ZERO);
    load.until_more(300).await;
    house.redis.process().kill9();
    sentinels.replica.until_master().await;
    for client in house.clients() {
        assert_eq!(client.until_hit("robin").await.value(), json!(1));
    }
    // The old one comes back, empty.
    house.redis.start().await;
    load.until_more(300).await;
    let ledger = load.stop().await;
    assert_eq!(ledger.failures, Vec::<String>::new());
    assert!(ledger.acknowledged > 600, "{} acknowledged", ledger.acknowledged);
    house.until_kept(&ledger).await;
    house.until_writable().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_without_noticing_is_left_by_everybody() {
    let house = House::plan().apis(2).redis_sentinels().open().await;
    let sentinels = house.sentinels.as_ref().unwrap();
    house.put("robin", json!(1)).await.expect(201);
    house.until_purged().await;
    for client in house.clients() {
        client.until_hit("robin").await;
    }
    // It goes on answering everybody but the sentinels, which cannot tell it that it is the master no more.
    sentinels.lose_sight_of(&house.redis).await;
    sentinels.replica.until_master().await;
    eventually("nobody uses the old master", || async {
        let clients: String = house.redis.run(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        // The one that asks is left, and the sentinels, who have a user of their own.
        let users = clients.lines().filter(|client| client.contains("user=default"));
        seen(users.count(), |users| *users == 1)
    })
    .await;
    let written = eventually(
        "the new master is used, since nobody can use the old one",
        || async {
            seen(house.put("robin", json!(2)).await, |written| {
                written.status == 201
            })
        },
    )
    .await;
    for client in house.clients() {
        assert_eq!(client.until_hit("robin").await.version(), written.version());
    }
}

#[tokio::test]
async fn copies_from_before_another_masters_reign_are_void() {
    let (server, partition) = (RedisServer::start_new().await, Partition(0));
    let generations = Generations::unread(Layout::of_new_nest(1));
    generations.advance(partition, 0);
    let config = CacheConfig {
        negative_ttl: Period::from_secs(3_600),
        ..CacheConfig::default()
    };
    let cache = Cache::start(&server.url(), &RedisConfig::default(), &config, generations).unwrap();
    let id = EntryId::global("robin".parse().unwrap());
    let lease = eventually("there is a lease", || cache.lease(partition, &id, 1)).await;
    let mark = Version::new(7).unwrap();
    cache.fill(lease.unwrap(), Found::Nothing { mark }).await.unwrap();
    let cached = cache.get(partition, &id).await.unwrap();
    assert!(!matches!(cached, Cached::Unknown), "{cached:?}");
    // For a moment it is a replica, of nobody who is there: what others write meanwhile never reaches it.
    for command in [
        "REPLICAOF 127.0.0.1 1",
        "REPLICAOF NO ONE",
        "CLIENT KILL TYPE normal",
    ] {
        let words: Vec<_> = command.split(' ').collect();
        server.run::<redis::Value>(&words).await;
    }
    eventually("the copy is void", || async {
        let cached = cache
            .get(partition, &id)
            .await
            .map_err(|error| error.to_string())?;
        seen(cached, |cached| matches!(cached, Cached::Unknown))
    })
    .await;
    assert_eq!(server.run::<u32>(&["DBSIZE"]).await, 1);
}
