//! What the cache itself does with the copies in a cluster, without an API around it.

use birbnest_core::{
    Content, Entry, EntryId, Layout, Partition, Record, Timestamp, Version,
    config::{CacheConfig, RedisConfig},
};
use birbnest_e2e::{
    servers::{RedisCluster, RedisServer},
    wait::{eventually, seen},
};
use birbnest_stores::{
    Connectivity,
    redis::{Cache, Cached, Found, Generations},
};
use serde_json::value::RawValue;

/// A cache of one partition, and the cluster where it keeps its copies.
struct Bare {
    cache: Cache,
    first: RedisServer,
    cluster: RedisCluster,
}

impl Bare {
    async fn open() -> Self {
        let (first, cluster) = RedisCluster::start().await;
        let generations = Generations::unread(Layout::of_new_nest(1));
        generations.advance(Partition(0), 0);
        let (redis, config) = (RedisConfig::default(), CacheConfig::default());
        let cache = Cache::start(cluster.url(), &redis, &config, generations).unwrap();
        eventually("every master is connected", || async {
            seen(cache.status().borrow().clone(), Connectivity::is_connected)
        })
        .await;
        Self {
            cache,
            first,
            cluster,
        }
    }

    async fn fill(&self, entries: &[Entry]) {
        for entry in entries {
            let lease = self.cache.lease(Partition(0), &entry.record.id, 1).await.unwrap();
            assert!(
                self.cache
                    .fill(lease.unwrap(), Found::Entry(entry))
                    .await
                    .unwrap()
            );
        }
    }

    async fn get(&self, entry: &Entry) -> Result<Cached, String> {
        let cached = self.cache.get(Partition(0), &entry.record.id).await;
        cached.map_err(|error| error.to_string())
    }
}

fn entry(number: u64, bytes: usize) -> Entry {
    let value = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
    let record = Record {
        id: EntryId::global(format!("robin-{number}").parse().unwrap()),
        content: Content::Value {
            value,
            metadata: None,
        },
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
        expires_at: None,
        operation_ids: vec![],
    };
    Entry {
        version: Version::new(number + 1).unwrap(),
        record,
    }
}

fn version_of(cached: &Cached) -> Option<u64> {
    match cached {
        Cached::Entry { version, .. } | Cached::Absent { version } => Some(version.get()),
        Cached::Unknown => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_keys_come_in_their_order_and_within_the_bytes_that_are_wanted() {
    let bare = Bare::open().await;
    let entries: Vec<Entry> = (0..30).map(|number| entry(number, 1_000)).collect();
    bare.fill(&entries).await;
    let mut ids: Vec<_> = entries
        .iter()
        .map(|entry| (Partition(0), entry.record.id.clone()))
        .collect();
    ids.insert(1, (Partition(0), EntryId::global("nobody".parse().unwrap())));
    let some = |most_bytes| {
        let (cache, ids) = (&bare.cache, &ids);
        async move {
            let some = cache.get_some(ids, most_bytes).await.unwrap();
            some.iter().map(version_of).collect::<Vec<_>>()
        }
    };
    let wanted: Vec<_> = [Some(1), None].into_iter().chain((2..=30).map(Some)).collect();
    assert_eq!(some(1 << 20).await, wanted);
    assert_eq!(some(0).await, wanted[..1]);
    let few = some(5_000).await;
    assert!((5..=6).contains(&few.len()), "{few:?}");
    assert_eq!(few, wanted[..few.len()]);
    // A script that the masters have forgotten is brought again.
    let flush = ["SCRIPT", "FLUSH", "SYNC"];
    for master in bare.cluster.masters.iter().chain([&bare.first]) {
        master.run::<()>(&flush).await;
    }
    let persisted: Vec<_> = entries
        .iter()
        .map(|entry| (&entry.record.id, Version::MAX))
        .collect();
    bare.cache.invalidate(Partition(0), &persisted).await.unwrap();
    assert_eq!(some(1 << 20).await, vec![None; 31]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_a_replica_inherited_are_void_and_so_is_the_sign_that_all_was_loaded() {
    let bare = Bare::open().await;
    let entries: Vec<Entry> = (0..30).map(|number| entry(number, 10)).collect();
    bare.fill(&entries).await;
    bare.cache.note_primed().await.unwrap();
    assert!(bare.cache.is_primed().await.unwrap());
    for (master, replica) in bare.cluster.masters.iter().zip(&bare.cluster.replicas[1..]) {
        let copies: u64 = master.run(&["DBSIZE"]).await;
        eventually("the replica has every copy", || async {
            seen(replica.run::<u64>(&["DBSIZE"]).await, |has| *has == copies)
        })
        .await;
    }
    // The last master and its replica change places.
    let (old, new) = (&bare.cluster.masters[1], &bare.cluster.replicas[2]);
    let mut lost = Vec::new();
    for entry in &entries {
        let stored = format!(
            "{}:global:{}",
            RedisConfig::default().key_prefix,
            entry.record.id.key.as_str()
        );
        if old.ask::<Option<Vec<u8>>>(&["GET", &stored]).await.is_ok() {
            lost.push(entry);
        }
    }
    assert!(
        !lost.is_empty() && lost.len() < entries.len(),
        "{} lost",
        lost.len()
    );
    new.run::<()>(&["CLUSTER", "FAILOVER"]).await;
    bare.cluster.until_rules(new).await;
    for entry in &lost {
        eventually("the copy is void", || async {
            seen(bare.get(entry).await?, |cached| version_of(cached).is_none())
        })
        .await;
    }
    assert!(new.run::<usize>(&["DBSIZE"]).await >= lost.len());
    for entry in entries
        .iter()
        .filter(|entry| !lost.iter().any(|lost| lost.version == entry.version))
    {
        let kept = bare.get(entry).await.unwrap();
        assert_eq!(version_of(&kept), Some(entry.version.get()));
    }
    eventually("the sign is void", || async {
        seen(
            bare.cache.is_primed().await.map_err(|error| error.to_string())?,
            |primed| !primed,
        )
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_no_cluster_says_so() {
    let url = RedisServer::shared().await.url();
    let url = url.replace("redis://", "redis-cluster://");
    let config = CacheConfig::default();
    let cache = Cache::start(
        &url,
        &RedisConfig::default(),
        &config,
        Generations::unread(Layout::of_new_nest(1)),
    )
    .unwrap();
    eventually("the reason is told", || async {
        seen(cache.status().borrow().trouble(), |trouble| {
            trouble
                .as_ref()
                .is_some_and(|told| told.contains("cluster support disabled"))
        })
    })
    .await;
}
