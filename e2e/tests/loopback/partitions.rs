//! As many partitions as there can be: every one of them is written, drained and purged. And another number of them, while
//! everything goes on.

use std::time::Duration;

use birbnest_core::{
    Layout,
    config::{Config, Period},
};
use birbnest_e2e::{
    house::House,
    load::{Load, fill},
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::json;

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

    let rows = count(
        &house,
        "SELECT count(DISTINCT partition) FROM SCHEMA.cache_entries",
    )
    .await;
    assert_eq!(rows, i64::from(MOST), "keys are spread over all of them");
    eventually("every partition has a mark", || async {
        let marked = count(&house, "SELECT count(*) FROM SCHEMA.fence WHERE mark > 0").await;
        seen(marked, |marked| *marked == i64::from(MOST))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_are_spread_over_more_and_over_fewer_partitions_and_no_request_fails() {
    // A decision has half of it for its tries.
    let patient = |config: &mut Config| config.stream.horizon = Period::from_secs(5);
    let house = House::plan().apis(2).workers(2).config(patient).open().await;
    house.put("counter", json!(0)).await.expect(201);
    house.put("gone", json!(1)).await.expect(201);
    house.delete("gone").await.expect(204);
    let mut ledger = fill(&house.api().client, 0..500, 16).await;
    let load = Load::start(&house.clients(), 4, 300, Duration::from_millis(2));
    let counted = increments(&house, 4, || async {
        load.until_more(500).await;
        for partitions in [9, 2] {
            house.spread_over(partitions).await;
            load.until_more(500).await;
        }
    });
    let counted = Box::pin(counted).await;
    ledger.merge(load.stop().await);
    assert_eq!(ledger.failures, Vec::<String>::new());
    house.until_kept(&ledger).await;
    house.until_purged().await;
    assert_eq!(house.get("counter").await.expect(200).value(), json!(counted));
    for key in ["gone", "never"] {
        house.get(key).await.expect(404);
    }
    assert_eq!(house.layout(), Layout::parse("13+2").unwrap());
    let fences = "SELECT count(*) FROM SCHEMA.fence WHERE partition IN (13, 14)";
    assert_eq!(count(&house, fences).await, 2);
    eventually("what earlier partitions left is swept", || async {
        let tombstones = "SELECT count(*) FROM SCHEMA.cache_entries WHERE tombstone";
        seen(count(&house, tombstones).await, |left| *left == 0)
    })
    .await;
    eventually("the streams of earlier partitions are gone", || async {
        seen(streams(&house).await, |streams| {
            streams.iter().all(|(partition, _)| [13, 14].contains(partition))
        })
    })
    .await;
}

/// How far a run is that spreads the keys.
type Step = (&'static str, fn(&Seen) -> bool);

struct Seen {
    begun: bool,
    announced: bool,
    streams: Vec<(u16, bool)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_run_dies_the_next_one_goes_on_and_nothing_is_lost() {
    let steps: [Step; 4] = [
        ("the new streams are there", |seen| seen.streams.len() > 2),
        ("it is announced", |seen| seen.announced),
        ("a stream is sealed", |seen| {
            seen.streams.iter().any(|(_, sealed)| *sealed)
        }),
        ("the partitions are others", |seen| seen.begun),
    ];
    let house = House::plan()
        .apis(2)
        .config(|config| config.stream.partitions = 2)
        .open()
        .await;
    let load = Load::start(&house.clients(), 4, 300, Duration::from_millis(2));
    // Every key is there before a write of it may be refused.
    load.until_more(600).await;
    for (partitions, (what, is_there)) in [3, 4, 5, 6].into_iter().zip(steps) {
        load.until_more(200).await;
        let before = house.layout();
        let run = house.spreading(partitions);
        run.start();
        eventually(what, || async { seen(look(&house, before).await, is_there) }).await;
        run.kill9();
        load.until_more(200).await;
        house.spread_over(partitions).await;
    }
    let ledger = load.stop().await;
    // A run that dies with the streams sealed leaves writes refused until the next one.
    for failure in &ledger.failures {
        assert!(failure.contains("503"), "{failure}");
    }
    house.until_writable().await;
    house.until_kept(&ledger).await;
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "begun {}, announced {}, {:?}",
            self.begun, self.announced, self.streams
        )
    }
}

async fn look(house: &House, before: Layout) -> Seen {
    let first = before.first();
    let begun = format!("SELECT count(*) FROM SCHEMA.layout WHERE first <> {first}");
    let streams = streams(house).await.into_iter();
    Seen {
        begun: count(house, &begun).await > 0,
        announced: count(house, "SELECT count(*) FROM SCHEMA.layout WHERE changing").await > 0,
        streams: streams.filter(|(partition, _)| *partition >= first.0).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_sleeps_through_the_change_serves_nothing_old_and_writes_nowhere_else() {
    let house = House::plan().apis(2).open().await;
    let (sleeper, other) = (&house.apis[0], &house.apis[1].client);
    sleeper.client.put("robin", json!(1)).await.expect(201);
    sleeper.client.get("robin").await.expect(200);
    sleeper.process().freeze().await;
    house.spread_over(7).await;
    let written = other.put("robin", json!(2)).await.expect(201);
    sleeper.process().thaw();
    let read = sleeper.client.get("robin").await.expect(200);
    assert_eq!((read.value(), read.version()), (json!(2), written.version()));
    let again = eventually("the one that slept knows the partitions", || async {
        let answer = sleeper.client.put("robin", json!(3)).await;
        assert!([201, 503].contains(&answer.status.as_u16()), "{answer:?}");
        seen(answer, |answer| answer.status == 201)
    })
    .await;
    assert!(again.version() > written.version());
    house
        .until_row("robin", |row| row.value.as_deref() == Some("3"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_announced_and_never_made_holds_no_write_for_long() {
    let house = House::open().await;
    house.put("robin", json!(1)).await.expect(201);
    let announce = format!(
        "UPDATE {}.layout SET changing = true",
        house.config.postgres.schema
    );
    house.postgres.run(&announce).await;
    eventually("writes are held back", || async {
        let answered = tokio::time::timeout(Duration::from_secs(1), house.put("robin", json!(2))).await;
        seen(answered.is_err(), |held| *held)
    })
    .await;
    // From here on nobody can hear that the change is called off.
    house.postgres.kill9();
    eventually("writes go on", || async {
        seen(house.put("robin", json!(3)).await, |answer| answer.status == 201)
    })
    .await;
}

/// Increments one counter by so many clients while something happens; returns how often that was acknowledged.
async fn increments<W: Future<Output = ()>>(
    house: &House,
    clients: usize,
    meanwhile: impl FnOnce() -> W,
) -> u64 {
    let clients: Vec<_> = house.clients().into_iter().cycle().take(clients).collect();
    let (stop, _) = tokio::sync::watch::channel(false);
    let counting = futures::future::join_all(clients.iter().map(|client| async {
        let mut made = 0;
        while !*stop.borrow() {
            let request = client.request(Method::POST, "/v1/increment/counter");
            let counted = request.json(&json!({})).send().await;
            assert!(counted.status.is_success(), "{counted:?}");
            made += 1;
        }
        made
    }));
    let done = async {
        meanwhile().await;
        stop.send_replace(true);
    };
    let (made, ()) = tokio::join!(counting, done);
    made.into_iter().sum()
}

/// Partitions of which there are streams, and whether they are sealed.
async fn streams(house: &House) -> Vec<(u16, bool)> {
    use futures::StreamExt as _;
    let jetstream = house.nats.jetstream().await;
    let mut all = jetstream.streams();
    let mut streams = Vec::new();
    while let Some(Ok(stream)) = all.next().await {
        let number = stream.config.name.rsplit_once("_persist_");
        if let Some(partition) = number.and_then(|(_, number)| number.parse().ok()) {
            streams.push((partition, stream.config.sealed));
        }
    }
    streams
}

async fn count(house: &House, sql: &str) -> i64 {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(&house.postgres.url()).await.unwrap();
    let sql = sql.replace("SCHEMA", &house.config.postgres.schema);
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
