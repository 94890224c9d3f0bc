//! A migrated schema of its own, and entries to put there.

use birbnest_core::{
    Base, Content, Entry, EntryId, Incarnation, Partition, Record, Timestamp, Version,
    config::{Config, PostgresConfig, Secrets},
};
use birbnest_e2e::servers::{NatsServer, PostgresServer};
use birbnest_migrate::Tasks;
use birbnest_stores::{
    epoch::Beginning,
    postgres::{Observed, Postgres},
};
use serde_json::value::RawValue;
use uuid::Uuid;

pub(crate) const PARTITION: Partition = Partition(0);

/// Of a new nest.
pub(crate) const BEGINNING: Beginning = Beginning {
    epoch: 1,
    base: Base::ZERO,
    replays: false,
};

/// A migrated schema of its own with a fence row.
pub(crate) async fn table() -> Postgres {
    let (postgres, _) = table_at(&PostgresServer::shared().await.fresh_database().await).await;
    postgres
}

/// The same, spread over so many.
pub(crate) async fn spread_over(tables: u16) -> Postgres {
    let url = PostgresServer::shared().await.fresh_database().await;
    let mut config = Config::default();
    config.postgres.table_partitions = tables;
    migrated(&url, &config).await
}

pub(crate) async fn table_at(url: &str) -> (Postgres, PostgresConfig) {
    let config = Config::default();
    (migrated(url, &config).await, config.postgres)
}

async fn migrated(url: &str, config: &Config) -> Postgres {
    let secrets = Secrets {
        postgres_url: url.to_owned(),
        postgres_owner_url: None,
        nats_url: NatsServer::shared().await.url(),
        redis_url: String::new(),
    };
    birbnest_migrate::run(config, &secrets, Tasks::default())
        .await
        .unwrap();
    let postgres = Postgres::connect(url, "test", &config.postgres).unwrap();
    postgres
        .create_fence_if_absent(PARTITION, "cache_persist_0", &incarnation("one"), BEGINNING)
        .await
        .unwrap();
    postgres
}

pub(crate) fn incarnation(name: &str) -> Incarnation {
    Incarnation::new(name, "one")
}

pub(crate) fn id(key: &str) -> EntryId {
    EntryId::global(key.parse().unwrap())
}

pub(crate) fn version(version: u64) -> Version {
    Version::new(version).unwrap()
}

pub(crate) fn entry(key: &str, number: u64, content: Content) -> Entry {
    let now = Timestamp::from_micros(1_763_700_000_000_000 + number.cast_signed());
    Entry {
        version: version(number),
        record: Record {
            id: id(key),
            content,
            created_at: now,
            updated_at: now,
            expires_at: None,
            operation_ids: vec![Uuid::from_u128(number.into())],
        },
    }
}

pub(crate) fn value(key: &str, number: u64, value: &str) -> Entry {
    let value = RawValue::from_string(value.to_owned()).unwrap();
    entry(
        key,
        number,
        Content::Value {
            value,
            metadata: None,
        },
    )
}

pub(crate) fn tombstone(key: &str, number: u64) -> Entry {
    entry(key, number, Content::Tombstone)
}

pub(crate) async fn stored(postgres: &Postgres, key: &str) -> Option<Entry> {
    postgres.read(PARTITION, &id(key)).await.unwrap().entry
}

pub(crate) fn text(entry: &Entry) -> &str {
    match &entry.record.content {
        Content::Value { value, .. } => value.get(),
        Content::Tombstone => "(tombstone)",
    }
}

/// As the janitor would: everything up to here is persisted.
pub(crate) async fn mark(postgres: &Postgres, up_to: u64) {
    let fence = postgres.fence(PARTITION).await.unwrap().unwrap();
    let observed = Observed {
        term: fence.term(),
        incarnation: fence.incarnation,
        mark: version(up_to),
        purge_sequence: fence.base.sequence_at(version(up_to)),
        highest_version: version(up_to),
    };
    assert!(postgres.record_mark(PARTITION, &observed).await.unwrap());
}
