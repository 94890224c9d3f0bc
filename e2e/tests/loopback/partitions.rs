//! As many partitions as there can be: every one of them is written, drained and purged.

use std::time::Duration;

use birbnest_e2e::{
    house::House,
    load::{Load, fill},
    wait::{eventually, seen},
};

const MOST: u16 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_partitions_are_drained_by_workers_that_come_and_go() {
    let house = House::plan()
        .apis(2)
        .workers(2)
        .config(|config| config.stream.partitions = MOST)
        .open()
        .await;
    let mut ledger = fill(&house.api().client, 0..2_000, 32).await;
    let load = Load::start(&house.clients(), 4, 500, Duration::ZERO);
    load.until_more(500).await;
    house.worker().kill9();
    load.until_more(500).await;
    house.worker().start().await;
    load.until_more(500).await;
    ledger.merge(load.stop().await);
    assert_eq!(ledger.failures, Vec::<String>::new());
    house.until_kept(&ledger).await;
    house.until_purged().await;

    let used = |sql: &str| {
        count(
            house.postgres.url(),
            sql.replace("SCHEMA", &house.config.postgres.schema),
        )
    };
    let rows = used("SELECT count(DISTINCT partition) FROM SCHEMA.cache_entries").await;
    assert_eq!(rows, i64::from(MOST), "keys are spread over all of them");
    eventually("every partition has a mark", || async {
        let marked = used("SELECT count(*) FROM SCHEMA.fence WHERE mark > 0").await;
        seen(marked, |marked| *marked == i64::from(MOST))
    })
    .await;
}

async fn count(url: String, sql: String) -> i64 {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
