//! Entries and the fence in a real PostgreSQL.

mod fence;
mod modes;
mod table;

use birbnest_core::{
    Content, Partition,
    config::{Period, PostgresConfig},
};
use birbnest_e2e::{
    servers::{Disk, PostgresServer},
    wait::eventually,
};
use birbnest_stores::postgres::{Postgres, PostgresError, PostgresPosture, connect_alone};
use serde_json::value::RawValue;
use sqlx::{Connection, PgConnection};
use table::{PARTITION, id, mark, spread_over, stored, table, table_at, text, tombstone, value, version};
use uuid::Uuid;

#[tokio::test]
async fn an_entry_comes_back_byte_for_byte() {
    let postgres = table().await;
    let mut entry = value("robin", 3, r#"{"b": 1.50,  "a": [1, 2], "a": "\u0000"}"#);
    entry.record.expires_at = Some(entry.record.updated_at.plus_seconds(60));
    entry.record.operation_ids = vec![Uuid::from_u128(1), Uuid::from_u128(2)];
    let Content::Value { metadata, .. } = &mut entry.record.content else {
        unreachable!()
    };
    *metadata = Some(RawValue::from_string(r#"{ "tag":"x" }"#.to_owned()).unwrap());
    postgres
        .upsert(PARTITION, std::slice::from_ref(&entry))
        .await
        .unwrap();

    let back = stored(&postgres, "robin").await.unwrap();
    assert_eq!(format!("{back:?}"), format!("{entry:?}"));
    assert!(stored(&postgres, "wren").await.is_none());
}

#[tokio::test]
async fn an_older_version_never_replaces_a_newer_one() {
    newer_versions_stay(&table().await).await;
    newer_versions_stay(&spread_over(4).await).await;
}

async fn newer_versions_stay(postgres: &Postgres) {
    postgres
        .upsert(PARTITION, &[value("a", 5, "5"), value("b", 6, "6")])
        .await
        .unwrap();
    let written = postgres
        .upsert(PARTITION, &[value("a", 4, "4"), value("b", 7, "7")])
        .await
        .unwrap();
    assert_eq!(written.rows, 1);
    assert_eq!(text(&stored(postgres, "a").await.unwrap()), "5");
    assert_eq!(text(&stored(postgres, "b").await.unwrap()), "7");
    let again = postgres
        .upsert(PARTITION, &[value("a", 5, "5"), value("b", 7, "7")])
        .await
        .unwrap();
    assert_eq!(again.rows, 0);
}

#[tokio::test]
async fn an_overwrite_keeps_the_creation_time_and_a_new_life_gets_a_new_one() {
    let postgres = table().await;
    let first = value("a", 1, "1");
    let born = first.record.created_at;
    postgres.upsert(PARTITION, &[first]).await.unwrap();
    let mut mortal = value("a", 2, "2");
    mortal.record.expires_at = Some(mortal.record.updated_at.plus_seconds(1));
    let death = mortal.record.expires_at.unwrap();
    postgres.upsert(PARTITION, &[mortal]).await.unwrap();
    assert_eq!(stored(&postgres, "a").await.unwrap().record.created_at, born);

    let mut heir = value("a", 3, "3");
    (heir.record.created_at, heir.record.updated_at) = (death, death);
    postgres.upsert(PARTITION, &[heir]).await.unwrap();
    assert_eq!(stored(&postgres, "a").await.unwrap().record.created_at, death);

    postgres.upsert(PARTITION, &[tombstone("a", 4)]).await.unwrap();
    let phoenix = value("a", 5, "5");
    let reborn = phoenix.record.created_at;
    postgres.upsert(PARTITION, &[phoenix]).await.unwrap();
    assert_eq!(stored(&postgres, "a").await.unwrap().record.created_at, reborn);
}

#[tokio::test]
async fn messages_at_or_below_the_mark_are_ignored() {
    let postgres = table().await;
    mark(&postgres, 10).await;
    let written = postgres
        .upsert(PARTITION, &[value("a", 10, "10"), value("b", 11, "11")])
        .await
        .unwrap();
    assert_eq!((written.mark, written.rows), (version(10), 1));
    assert!(stored(&postgres, "a").await.is_none());
    assert!(stored(&postgres, "b").await.is_some());
}

#[tokio::test]
async fn one_row_that_is_no_json_for_postgres_rejects_the_batch_and_says_so() {
    let postgres = table().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let batch = [value("good", 1, "1"), value("deep", 2, &deep)];
    let error = postgres.upsert(PARTITION, &batch).await.unwrap_err();
    assert!(error.rejection().is_some(), "{error}");
    assert!(stored(&postgres, "good").await.is_none());
}

#[tokio::test]
async fn many_keys_are_read_in_the_order_of_the_questions() {
    let postgres = table().await;
    postgres
        .upsert(PARTITION, &[value("a", 1, "1"), value("c", 3, "3")])
        .await
        .unwrap();
    let ids = ["c", "b", "a", "c"].map(|key| (PARTITION, id(key)));
    let found = postgres.read_many(&ids).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|stored| stored.entry.as_ref().map(text))
        .collect();
    assert_eq!(found, [Some("3"), None, Some("1"), Some("3")]);
    assert!(matches!(
        postgres.read_many(&[(Partition(9), id("a"))]).await,
        Err(PostgresError::NoFence(Partition(9)))
    ));
}

#[tokio::test]
async fn the_sweep_leaves_whatever_is_above_the_mark() {
    the_sweep_leaves_what_it_must(&table().await).await;
}

#[tokio::test]
async fn the_sweep_of_one_table_leaves_the_others() {
    // Fewer tables than keys: one of them holds several.
    the_sweep_leaves_what_it_must(&spread_over(4).await).await;
}

async fn the_sweep_leaves_what_it_must(postgres: &Postgres) {
    let mut expired = [value("old", 2, "2"), value("young", 12, "12")];
    for entry in &mut expired {
        entry.record.expires_at = Some(entry.record.updated_at.plus_seconds(1));
    }
    postgres
        .upsert(
            PARTITION,
            &[tombstone("a", 1), tombstone("b", 11), value("c", 3, "3")],
        )
        .await
        .unwrap();
    postgres.upsert(PARTITION, &expired).await.unwrap();
    assert_eq!(postgres.sweep(PARTITION, 100).await.unwrap().total(), 0);

    mark(postgres, 10).await;
    let swept = postgres.sweep(PARTITION, 100).await.unwrap();
    assert_eq!((swept.tombstones, swept.expired), (1, 1));
    for (key, there) in [
        ("a", false),
        ("old", false),
        ("b", true),
        ("young", true),
        ("c", true),
    ] {
        assert_eq!(stored(postgres, key).await.is_some(), there, "{key}");
    }
    let fence = postgres.fence(PARTITION).await.unwrap().unwrap();
    assert!(fence.highest_version >= version(10));
}

#[tokio::test]
async fn a_schema_that_is_not_migrated_is_nobodys_row() {
    let url = PostgresServer::shared().await.fresh_database().await;
    let postgres = Postgres::connect(&url, "test", &PostgresConfig::default()).unwrap();
    let error = postgres
        .upsert(PARTITION, &[value("a", 1, "1")])
        .await
        .unwrap_err();
    assert_eq!(error.category(), "refused", "{error}");
    assert!(postgres.ping().await.is_err());
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let server = PostgresServer::start_new(Disk::Trusted).await;
    let (postgres, _) = table_at(&server.fresh_database().await).await;
    server.stop().await;
    let error = postgres.ping().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    server.start().await;
    eventually("the pool finds the server again", || postgres.ping()).await;
    postgres.upsert(PARTITION, &[value("a", 1, "1")]).await.unwrap();
}

#[tokio::test]
async fn a_statement_that_waits_for_too_long_is_given_up() {
    let url = PostgresServer::shared().await.fresh_database().await;
    let (patient, config) = table_at(&url).await;
    let config = PostgresConfig {
        statement_timeout: Period::from_millis(100),
        ..config
    };
    let postgres = Postgres::connect(&url, "test", &config).unwrap();

    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE birbnest.fence")
        .execute(&mut *lock)
        .await
        .unwrap();
    let error = postgres
        .upsert(PARTITION, &[value("a", 1, "1")])
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    lock.rollback().await.unwrap();
    patient.upsert(PARTITION, &[value("a", 1, "1")]).await.unwrap();
}

#[tokio::test]
async fn connections_of_this_nest_are_left_to_it_and_those_of_another_are_not() {
    let server = PostgresServer::start_new(Disk::Trusted).await;
    let [own, other] = ["own", "other"].map(|schema| PostgresConfig {
        schema: schema.to_owned(),
        ..PostgresConfig::default()
    });
    let left = async || {
        let posture = PostgresPosture::ask(&server.url(), "birbnest-operator", &own).await;
        posture.unwrap().connections
    };
    let free = left().await;
    let mut sessions = vec![];
    for (config, taken) in [(&own, 0), (&other, 1), (&other, 2)] {
        let session = connect_alone(&server.url(), "birbnest-api", config).await;
        sessions.push(session.unwrap());
        assert_eq!(left().await, free - taken, "{}", config.schema);
    }
}
