//! The scripts in a real Redis do what the model says, in every sequence of a few actions.

use birbnest_core::{
    Content, Entry, EntryId, Layout, MAX_PARTITIONS, Partition, Record, Timestamp, Version,
    config::{CacheConfig, Period, RedisConfig},
};
use birbnest_e2e::{
    servers::RedisServer,
    wait::{eventually, seen},
};
use birbnest_model::one_epoch::Slot;
use birbnest_stores::redis::{Cache, Cached, Found, Generations, Lease};
use futures::future::join_all;
use serde_json::value::RawValue;

/// Actions in a row. Four are enough for a lease that is lost, taken by another reader, and filled by the first.
const LENGTH: u32 = 4;
/// Sequences that run at the same time, each in a partition of its own.
const LANES: u16 = MAX_PARTITIONS;

#[derive(Clone, Copy, Debug)]
enum Action {
    Write(u8),
    Lease(usize),
    Fill(usize, u8),
    Invalidate(u8),
    Evict,
    Raise,
}

const ALPHABET: [Action; 12] = [
    Action::Write(1),
    Action::Write(2),
    Action::Write(3),
    Action::Lease(0),
    Action::Lease(1),
    Action::Fill(0, 1),
    Action::Fill(0, 2),
    Action::Fill(1, 0),
    Action::Invalidate(1),
    Action::Invalidate(2),
    Action::Evict,
    Action::Raise,
];

/// One key in both worlds. Nobody else uses its partition meanwhile, so that its generation can be raised alone.
struct Pair {
    cache: Cache,
    generations: Generations,
    redis: redis::aio::MultiplexedConnection,
    partition: Partition,
    id: EntryId,
    leases: [Option<Lease>; 2],
    slot: Slot,
    generation: u8,
    /// The generation of the partition with which the sequence began.
    began: u64,
}

impl Pair {
    async fn act(&mut self, action: Action) {
        match action {
            Action::Write(version) => {
                self.cache
                    .write(self.partition, &self.entry(version))
                    .await
                    .unwrap();
                self.slot = self.slot.write(version, self.generation);
            }
            Action::Lease(reader) => self.lease(reader).await,
            Action::Fill(reader, version) => self.fill(reader, version).await,
            Action::Invalidate(version) => {
                let persisted = [(&self.id, version_of(version))];
                self.cache.invalidate(self.partition, &persisted).await.unwrap();
                self.slot = self.slot.invalidate(version, self.generation);
            }
            Action::Evict => {
                let key = format!("model:global:{}", self.id.key.as_str());
                redis::cmd("DEL")
                    .arg(key)
                    .query_async::<()>(&mut self.redis)
                    .await
                    .unwrap();
                self.slot = Slot::Absent;
            }
            Action::Raise => {
                self.generation += 1;
                self.generations
                    .advance(self.partition, self.began + u64::from(self.generation));
            }
        }
    }

    async fn lease(&mut self, reader: usize) {
        let token = token(reader);
        let granted = self
            .cache
            .lease(self.partition, &self.id, token.into())
            .await
            .unwrap();
        let modelled = self.slot.lease(token, self.generation);
        assert_eq!(granted.is_some(), modelled.is_some(), "{:?}", self.slot);
        self.slot = modelled.unwrap_or(self.slot);
        self.leases[reader] = granted;
    }

    async fn fill(&mut self, reader: usize, version: u8) {
        let Some(lease) = self.leases[reader].take() else {
            return;
        };
        let entry = self.entry(version.max(1));
        let nothing = Found::Nothing { mark: Version::ZERO };
        let found = if version == 0 {
            nothing
        } else {
            Found::Entry(&entry)
        };
        self.cache.fill(lease, found).await.unwrap();
        self.slot = self.slot.fill(token(reader), version);
    }

    async fn compare(&self, told: &[Action]) {
        let real = match self.cache.get(self.partition, &self.id).await.unwrap() {
            Cached::Entry { version, .. } | Cached::Absent { version } => Some(version.get()),
            Cached::Unknown => None,
        };
        let modelled = self.slot.hit(self.generation).map(u64::from);
        assert_eq!(real, modelled, "after {told:?}: {:?}", self.slot);
    }

    /// Even versions are tombstones.
    fn entry(&self, version: u8) -> Entry {
        let value = RawValue::from_string(version.to_string()).unwrap();
        let value = Content::Value {
            value,
            metadata: None,
        };
        let at = Timestamp::from_micros(version.into());
        let record = Record {
            id: self.id.clone(),
            content: if version.is_multiple_of(2) {
                Content::Tombstone
            } else {
                value
            },
            created_at: at,
            updated_at: at,
            expires_at: None,
            operation_ids: vec![],
        };
        Entry {
            version: version_of(version),
            record,
        }
    }
}

fn token(reader: usize) -> u8 {
    u8::try_from(reader).unwrap() + 1
}

fn version_of(version: u8) -> Version {
    Version::new(version.into()).unwrap()
}

/// The sequence of this number.
fn sequence(number: usize) -> Vec<Action> {
    let base = ALPHABET.len();
    (0..LENGTH)
        .map(|place| ALPHABET[number / base.pow(place) % base])
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_leave_what_the_model_leaves_after_every_short_sequence() {
    let sequences = ALPHABET.len().pow(LENGTH);
    let server = RedisServer::shared().await;
    let config = RedisConfig {
        key_prefix: "model".to_owned(),
        command_timeout: Period::from_secs(10),
    };
    let layout = Layout::of_new_nest(LANES);
    let generations = Generations::unread(layout);
    let cache = Cache::start(
        &server.url(),
        &config,
        &CacheConfig::default(),
        generations.clone(),
    )
    .unwrap();
    eventually("the cache is connected", || async {
        seen(
            cache.status().borrow().clone(),
            birbnest_stores::Connectivity::is_connected,
        )
    })
    .await;
    let redis = server.connect().await.unwrap();
    let lanes = layout.partitions().map(|partition| {
        let (cache, generations, redis) = (cache.clone(), generations.clone(), redis.clone());
        async move {
            let mut began = 0;
            for number in (usize::from(partition.0)..sequences).step_by(LANES.into()) {
                generations.advance(partition, began);
                let mut pair = Pair {
                    cache: cache.clone(),
                    generations: generations.clone(),
                    redis: redis.clone(),
                    partition,
                    id: EntryId::global(number.to_string().parse().unwrap()),
                    leases: [None, None],
                    slot: Slot::Absent,
                    generation: 0,
                    began,
                };
                let actions = sequence(number);
                for (done, action) in actions.iter().enumerate() {
                    pair.act(*action).await;
                    pair.compare(&actions[..=done]).await;
                }
                began += u64::from(pair.generation) + 1;
            }
        }
    });
    join_all(lanes).await;
}
