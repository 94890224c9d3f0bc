//! How the processes start, end and refuse to start.

use birbnest_core::{StreamNames, config::Config};
use birbnest_e2e::{
    house::{Binary, House},
    load::fill,
    servers::fresh_directory,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BINARIES: [&str; 3] = ["birbnest-api", "birbnest-worker", "birbnest-migrate"];

fn addresses() -> Vec<(String, String)> {
    let nowhere = [
        ("BIRBNEST_REDIS_URL", "redis://127.0.0.1:1"),
        ("BIRBNEST_NATS_URL", "nats://127.0.0.1:1"),
        ("BIRBNEST_POSTGRES_URL", "postgres://127.0.0.1:1/x"),
    ];
    nowhere
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .to_vec()
}

#[tokio::test]
async fn an_invalid_configuration_names_its_field_and_exits_2() {
    let directory = fresh_directory("invalid");
    let files = [
        ("worker: {batch: {size: 0}}", "worker.batch.size"),
        ("stream: {horizon: 5ms}", "stream.horizon"),
        ("postgres: {schema: 'a; drop'}", "postgres.schema"),
        ("worker: {batsh: {}}", "batsh"),
        ("cache: {defaultTtl: 15}", "defaultTtl"),
        ("api: {listen: here}", "listen"),
    ];
    for name in BINARIES {
        for (file, field) in files {
            let mut binary = Binary::new(name, &Config::default(), &addresses());
            file.clone_into(&mut binary.config);
            let (status, log) = binary.run(&directory).await;
            assert_eq!(status.code(), Some(2), "{name} with {file}: {log}");
            assert!(log.contains(field), "{name} with {file}: {log}");
        }
    }
}

#[tokio::test]
async fn a_missing_address_is_named_and_exits_2() {
    let directory = fresh_directory("missing");
    for name in BINARIES {
        let (_, rest) = addresses()
            .split_first()
            .map(|(first, rest)| (first.clone(), rest.to_vec()))
            .unwrap();
        let (status, log) = Binary::new(name, &Config::default(), &rest).run(&directory).await;
        assert_eq!(status.code(), Some(2), "{name}: {log}");
        assert!(log.contains("BIRBNEST_REDIS_URL"), "{name}: {log}");
    }
}

#[tokio::test]
async fn a_request_in_progress_at_sigterm_is_answered_and_the_process_exits_0() {
    let house = House::open().await;
    let address = house
        .api()
        .client
        .base()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let body = r#"{"value": "late"}"#;
    let head = format!(
        "PUT /v1/cache/late HTTP/1.1\r\nhost: nest\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body.as_bytes()[..5]).await.unwrap();
    // The service has the request once a later connection was answered.
    house.get("nobody").await.expect(404);

    house.api().process().terminate();
    eventually("new connections are refused", || async {
        seen(TcpStream::connect(&address).await.is_err(), |refused| *refused)
    })
    .await;
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(house.api().process().until_ended().await.success());
    house
        .until_row("late", |row| row.value.as_deref() == Some("\"late\""))
        .await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_finishes_what_it_has_in_hand() {
    let house = House::plan()
        .workers(1)
        .config(|c| c.worker.batch.size = 50)
        .open()
        .await;
    house.worker().stop().await;
    let ledger = fill(&house.api().client, 0..5_000, 32).await;
    house.worker().start().await;
    eventually("the drain has begun", || async {
        let count = house.table.count().await.map_err(|error| error.to_string())?;
        seen(count, |count| *count > 0)
    })
    .await;
    assert!(house.worker().stop().await.success());
    house.worker().start().await;
    house.until_kept(&ledger).await;
}

#[tokio::test]
async fn nobody_is_ready_before_every_backend_was_reached() {
    let house = House::open().await;
    house.api().stop().await;
    house.worker().stop().await;
    house.postgres.stop().await;
    for member in [house.api(), house.worker()] {
        member.process().start();
        let answer = eventually("the process answers", || async {
            member.process().assert_running();
            member.client.request(Method::GET, "/readyz").try_send().await
        })
        .await
        .expect(503);
        assert_ne!(answer.member("checks")["database"], "healthy");
        member
            .client
            .request(Method::GET, "/livez")
            .send()
            .await
            .expect(200);
    }
    house.postgres.start().await;
    house.api().until_ready().await;
    house.worker().until_ready().await;
    house.put("robin", json!(1)).await.expect(201);
    house.until_row("robin", |_| true).await;
}

#[tokio::test]
async fn logs_are_json_with_the_request_id_that_the_client_sees_and_hold_no_secret() {
    let house = House::open().await;
    house.nats.stop().await;
    let refused = house.api().client.about(Method::PUT, "robin");
    let refused = refused
        .header("x-request-id", "robin-7")
        .json(&json!({"value": "s3cret"}))
        .send()
        .await
        .expect(503);
    assert_eq!(refused.header("x-request-id"), "robin-7");
    eventually("the log names the request", || async {
        let log = house.api().process().log();
        seen(log, |log| log.contains("robin-7")).map_err(|_| "it does not")
    })
    .await;
    let log = house.api().process().log();
    assert!(!log.contains("s3cret"));
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            parsed.get("level").is_some() && parsed.get("timestamp").is_some(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_somebody_else_left_in_the_streams_keeps_nobody_from_new_tables() {
    let house = House::open().await;
    house.put("old", json!(1)).await.expect(201);
    house.until_row("old", |_| true).await;
    // Who would take it out again.
    house.worker().stop().await;
    let (jetstream, names) = (
        house.nats.jetstream().await,
        StreamNames::new(&house.config.stream.prefix),
    );
    for partition in house.layout().partitions() {
        let subject = names.subjects(partition).replace('>', "stray");
        let stray = jetstream.publish(subject, "not one of ours".into());
        stray.await.unwrap().await.unwrap();
    }
    drop_tables(&house).await;
    house.migrate().await;
    house.worker().start().await;
    eventually("writes reach the new tables", || async {
        house.put("new", json!(2)).await;
        seen(house.table.row("new").await.unwrap().is_some(), |there| *there)
    })
    .await;
}

async fn drop_tables(house: &House) {
    let mut connection = PgConnection::connect(house.table.url()).await.unwrap();
    let drop = format!("DROP SCHEMA {} CASCADE", house.config.postgres.schema);
    connection.execute(AssertSqlSafe(drop)).await.unwrap();
}

/// As after a mistake in the database, or a restore from a dump: everything of the schema gets a new identity.
#[tokio::test]
async fn tables_that_were_dropped_and_made_anew_are_used_by_whoever_runs() {
    let house = House::open().await;
    house.put("old", json!(1)).await.expect(201);
    house.until_row("old", |_| true).await;
    drop_tables(&house).await;
    house.migrate().await;
    eventually("writes reach the new tables", || async {
        let answer = house.put("new", json!(2)).await;
        if !answer.status.is_success() {
            return Err(format!("{answer:?}"));
        }
        seen(house.table.row("new").await.unwrap().is_some(), |there| *there)
    })
    .await;
    eventually("misses are answered from the new tables", || async {
        seen(house.get("nobody").await, |answer| answer.status == 404)
    })
    .await;
    house.get("new").await.expect(200);
}
