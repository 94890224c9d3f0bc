//! How safe a write is when it is acknowledged.

use std::time::Instant;

use birbnest_core::{Durability, WriteMode};
use birbnest_e2e::{client::Answer, house::House};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

async fn put(house: &House, key: &str, prefer: &str) -> Answer {
    let request = house
        .api()
        .client
        .about(Method::PUT, key)
        .json(&json!({ "value": key }));
    request.header("prefer", prefer).send().await
}

#[tokio::test]
async fn a_persisted_write_is_in_postgresql_when_it_is_acknowledged() {
    let house = House::open().await;
    // Nobody else could have brought it there.
    house.worker().stop().await;
    let queued = put(&house, "queued", "durability=queued").await.expect(201);
    assert_eq!(queued.header("birb-durability"), "queued");
    assert!(house.table.row("queued").await.unwrap().is_none());

    let stored = put(&house, "stored", "durability=persisted").await.expect(201);
    assert_eq!(stored.header("birb-durability"), "persisted");
    assert_eq!(stored.header("preference-applied"), "durability=persisted");
    let row = house.table.row("stored").await.unwrap().unwrap();
    assert_eq!(row.version.cast_unsigned(), stored.version());

    // The worker finds it there, and purges the stream as ever.
    house.worker().start().await;
    house.until_purged().await;
    assert_eq!(house.get("stored").await.expect(200).json(), stored.json());
    put(&house, "eternal", "durability=eternal").await.expect(400);
}

#[tokio::test]
async fn a_write_that_could_only_be_queued_says_so() {
    let house = House::open().await;
    house.postgres.stop().await;
    let stored = put(&house, "robin", "durability=persisted").await.expect(202);
    assert_eq!(stored.header("birb-durability"), "queued");
    assert_eq!(stored.header("preference-applied"), "");
    house.postgres.start().await;
    let row = house.until_row("robin", |_| true).await;
    assert_eq!(row.version.cast_unsigned(), stored.version());
}

#[tokio::test]
async fn a_postgresql_that_does_not_answer_keeps_nobody_until_the_request_times_out() {
    let house = House::open().await;
    let mut other = PgConnection::connect(&house.postgres.url()).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    let fences = format!("SELECT FROM {}.fence FOR UPDATE", house.config.postgres.schema);
    lock.execute(sqlx::AssertSqlSafe(fences)).await.unwrap();
    let began = Instant::now();
    let stored = put(&house, "robin", "durability=persisted").await.expect(202);
    assert_eq!(stored.header("birb-durability"), "queued");
    assert!(
        began.elapsed() < house.config.api.request_timeout.get(),
        "{:?}",
        began.elapsed()
    );
    lock.rollback().await.unwrap();
    let row = house.until_row("robin", |_| true).await;
    assert_eq!(row.version.cast_unsigned(), stored.version());
}

#[tokio::test]
async fn the_default_is_configured_and_through_is_not_negotiable() {
    let persisted = House::plan()
        .config(|config| config.cache.durability = Durability::Persisted)
        .open()
        .await;
    let plain = persisted.put("robin", json!(1)).await.expect(201);
    assert_eq!(plain.header("birb-durability"), "persisted");
    let asked = put(&persisted, "wren", "durability=queued").await.expect(201);
    assert_eq!(asked.header("birb-durability"), "queued");

    let through = House::plan()
        .config(|config| config.cache.write_mode = WriteMode::Through)
        .open()
        .await;
    let asked = put(&through, "wren", "durability=queued").await.expect(201);
    assert_eq!(asked.header("birb-durability"), "persisted");
    let deleted = through.delete("wren").await.expect(204);
    assert_eq!(deleted.header("birb-durability"), "persisted");
    assert!(
        through
            .table
            .row("wren")
            .await
            .unwrap()
            .is_none_or(|row| row.tombstone)
    );
}

#[tokio::test]
async fn many_writes_that_wait_for_postgresql_share_transactions_and_all_arrive() {
    let house = House::open().await;
    house.worker().stop().await;
    // Some keys several times: of each the newest is written.
    let writes = (0..200).map(|number| {
        let key = format!("key-{}", number % 50);
        let house = &house;
        async move {
            (
                key.clone(),
                put(house, &key, "durability=persisted")
                    .await
                    .expect(201)
                    .version(),
            )
        }
    });
    let written = futures::future::join_all(writes).await;
    for number in 0..50 {
        let key = format!("key-{number}");
        let newest = written
            .iter()
            .filter(|(written, _)| *written == key)
            .map(|(_, version)| *version)
            .max();
        let row = house.table.row(&key).await.unwrap().unwrap();
        assert_eq!(Some(row.version.cast_unsigned()), newest);
    }
}
