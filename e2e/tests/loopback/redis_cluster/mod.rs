//! A Redis Cluster: its masters may die, sleep, and give slots to each other.

mod copies;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::House,
    load::Load,
    servers::RedisServer,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Under load these keys are watched; they lie in slots of every master.
const WATCHED: u64 = 30;

/// Somebody who writes through one API and reads through the other: what Redis was told, nobody may miss.
struct Watch {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Watch {
    fn start(clients: Vec<ApiClient>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stopped);
        let task = tokio::spawn(async move {
            let (mut told, mut number) = (0, 0_u64);
            while !ends.load(Ordering::Relaxed) {
                let key = format!("watched-{}", number % WATCHED);
                let writer = &clients[usize::try_from(number).unwrap() % clients.len()];
                number += 1;
                let written = writer.put(&key, json!(number)).await;
                if written.status != 201 {
                    continue;
                }
                told += 1;
                for reader in &clients {
                    let read = reader.get(&key).await.expect(200);
                    assert!(
                        read.version() >= written.version(),
                        "{key}: {read:?} after {written:?}"
                    );
                }
            }
            told
        });
        Self { stopped, task }
    }

    async fn stop(self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A key of the nest in a slot of this master, and the slot.
async fn key_at(house: &House, master: &RedisServer) -> (String, u16) {
    let place = master.address().to_string();
    let nodes: String = master.run(&["CLUSTER", "NODES"]).await;
    let own = nodes
        .lines()
        .find(|node| node.contains("myself") && node.contains(&place));
    let (first, last) = own
        .unwrap()
        .split_whitespace()
        .nth(8)
        .unwrap()
        .split_once('-')
        .unwrap();
    let range = first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap();
    for number in 0.. {
        let key = format!("robin-{number}");
        let stored = format!("{}:global:{key}", house.config.redis.key_prefix);
        let slot: u16 = master.run(&["CLUSTER", "KEYSLOT", &stored]).await;
        if range.contains(&slot) {
            return (key, slot);
        }
    }
    unreachable!()
}

/// Writes a key that only Redis and PostgreSQL hold then, and of which every API has found the copy.
async fn cache_everywhere(house: &House, key: &str) {
    house.put(key, json!(1)).await.expect(201);
    house.until_purged().await;
    for client in house.clients() {
        client.until_hit(key).await;
    }
}

/// Writes until Redis holds no older copy when the write is answered.
async fn until_told(house: &House, key: &str, value: u64) -> Answer {
    eventually("redis is told", || async {
        seen(house.put(key, json!(value)).await, |put| put.status == 201)
    })
    .await
}

async fn generations_raised(house: &House) -> f64 {
    house
        .worker()
        .metric("birbnest_worker_cache_generations_raised_total")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_hits_from_every_master_and_batches_span_all_slots() {
    let house = House::plan().redis_cluster().open().await;
    let cluster = house.redis_cluster.as_ref().unwrap();
    let client = &house.api().client;
    let keys: Vec<String> = (0..60).map(|number| format!("robin-{number}")).collect();
    let entries: serde_json::Map<String, Value> = keys
        .iter()
        .map(|key| (key.clone(), json!({ "value": key })))
        .collect();
    let put = client.request(Method::POST, "/v1/cache/batch/put");
    put.json(&json!({ "entries": entries })).send().await.expect(200);
    house.until_purged().await;
    for key in &keys {
        assert_eq!(client.until_hit(key).await.value(), json!(key));
    }
    for master in cluster.masters.iter().chain([&house.redis]) {
        let copies: usize = master.run(&["DBSIZE"]).await;
        assert!(copies > 5, "{copies} of {} copies are here", keys.len());
    }
    let get = client.request(Method::POST, "/v1/cache/batch/get");
    let asked: Vec<&str> = keys.iter().map(String::as_str).chain(["nobody"]).collect();
    let got = get.json(&json!({ "keys": asked })).send().await.expect(200);
    assert_eq!(got.member("missing"), json!(["nobody"]));
    for key in &keys {
        assert_eq!(got.member("entries")[key]["value"], json!(key));
    }
    eventually("every master answers", || house.api().reaches("redis")).await;
    assert!(generations_raised(&house).await < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_costs_no_read_and_no_write_and_its_replica_serves_hits() {
    let house = House::plan().apis(2).redis_cluster().open().await;
    let cluster = house.redis_cluster.as_ref().unwrap();
    let (key, _) = key_at(&house, &house.redis).await;
    cache_everywhere(&house, &key).await;
    let load = Load::start(&house.clients(), 4, 100, Duration::ZERO);
    let watch = Watch::start(house.clients());
    load.until_more(300).await;
    let killed = Instant::now();
    house.redis.process().kill9();
    cluster.until_rules(&cluster.replicas[0]).await;
    let ruled = killed.elapsed();
    for client in house.clients() {
        assert_eq!(client.until_hit(&key).await.value(), json!(1));
    }
    eprintln!(
        "the replica ruled after {ruled:?}, and hits came after {:?}",
        killed.elapsed()
    );
    // The old one comes back as a replica.
    house.redis.start().await;
    load.until_more(300).await;
    assert!(watch.stop().await > 0);
    let ledger = load.stop().await;
    assert_eq!(ledger.failures, Vec::<String>::new());
    assert!(ledger.acknowledged > 600, "{} acknowledged", ledger.acknowledged);
    house.until_kept(&ledger).await;
    for api in &house.apis {
        eventually("every master answers", || api.reaches("redis")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_slept_while_its_replica_took_over_serves_no_old_value() {
    let house = House::plan().apis(2).redis_cluster().open().await;
    let cluster = house.redis_cluster.as_ref().unwrap();
    let (key, _) = key_at(&house, &house.redis).await;
    cache_everywhere(&house, &key).await;
    let watch = Watch::start(house.clients());
    house.redis.process().freeze().await;
    cluster.until_rules(&cluster.replicas[0]).await;
    for client in house.clients() {
        client.until_hit(&key).await;
    }
    // Each core of an API looks for itself: that one reads from the replica says nothing of the one that is written through.
    let written = until_told(&house, &key, 2).await;
    house.redis.process().thaw();
    eventually("the old master is a replica", || async {
        for client in house.clients() {
            assert_eq!(client.get(&key).await.expect(200).version(), written.version());
        }
        let info = house.redis.ask::<String>(&["INFO", "replication"]).await;
        seen(info.map_err(|error| error.to_string())?, |info| {
            info.contains("role:slave")
        })
    })
    .await;
    for client in house.clients() {
        assert_eq!(client.until_hit(&key).await.version(), written.version());
    }
    assert!(watch.stop().await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_away_and_back_brings_back_no_copy_that_was_written_over() {
    let house = House::plan().apis(2).redis_cluster().open().await;
    let cluster = house.redis_cluster.as_ref().unwrap();
    let (from, to) = (&house.redis, &cluster.masters[0]);
    let (key, slot) = key_at(&house, from).await;
    cache_everywhere(&house, &key).await;
    let (load, watch) = (
        Load::start(&house.clients(), 2, 100, Duration::ZERO),
        Watch::start(house.clients()),
    );
    // Nobody writes: the copy comes back, and counts again.
    let copy = || async {
        let stored = format!("{}:global:{key}", house.config.redis.key_prefix);
        from.ask::<Option<Vec<u8>>>(&["GET", &stored]).await
    };
    let before = copy().await.unwrap();
    cluster.begin_to_move(slot, from, to).await;
    cluster.end_to_move(slot, from, to).await;
    assert!(copy().await.is_err(), "the slot has not moved");
    cluster.begin_to_move(slot, to, from).await;
    cluster.end_to_move(slot, to, from).await;
    assert_eq!(copy().await.unwrap(), before);
    for client in house.clients() {
        assert_eq!(client.until_hit(&key).await.value(), json!(1));
    }
    // One write while the copy has gone ahead, and one when the slot has followed.
    for value in [2, 3] {
        cluster.begin_to_move(slot, from, to).await;
        cluster.carry(slot, from, to).await;
        if value == 3 {
            cluster.end_to_move(slot, from, to).await;
        }
        let written = until_told(&house, &key, value).await;
        if value == 2 {
            cluster.end_to_move(slot, from, to).await;
        }
        cluster.begin_to_move(slot, to, from).await;
        cluster.end_to_move(slot, to, from).await;
        for client in house.clients() {
            assert_eq!(client.get(&key).await.expect(200).version(), written.version());
            assert_eq!(client.until_hit(&key).await.version(), written.version());
        }
    }
    load.until_more(100).await;
    assert!(watch.stop().await > 0);
    let ledger = load.stop().await;
    assert_eq!(ledger.failures, Vec::<String>::new());
    house.until_kept(&ledger).await;
    assert!(generations_raised(&house).await < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_gone_with_its_replica_costs_the_hits_of_its_own_keys() {
    let house = House::plan().redis_cluster().open().await;
    let cluster = house.redis_cluster.as_ref().unwrap();
    let (gone, _) = key_at(&house, &house.redis).await;
    let (left, _) = key_at(&house, &cluster.masters[0]).await;
    for key in [&gone, &left] {
        house.put(key, json!(key)).await.expect(201);
    }
    house.until_purged().await;
    for key in [&gone, &left] {
        house.api().client.until_hit(key).await;
    }
    cluster.replicas[0].process().kill9();
    house.redis.process().kill9();
    let missing = format!("{} does not answer", house.redis.address());
    eventually("the one that is missing is named", || async {
        let health = house.api().health().await;
        seen(health.member("checks")["redis"].to_string(), |told| {
            told.contains(&missing)
        })
    })
    .await;
    assert!(house.get(&left).await.expect(200).is_hit());
    let read = house.get(&gone).await.expect(200);
    assert!(!read.is_hit(), "{read:?}");
    assert_eq!(read.value(), json!(gone));
    house.put(&gone, json!(2)).await.expect(202);
    assert_eq!(house.get(&gone).await.expect(200).value(), json!(2));
}
