//! What PostgreSQL rejects, or nobody can read, becomes a dead letter: and nothing else does.

use std::time::Duration;

use async_nats::jetstream::stream::StorageType;
use birbnest_core::{
    StreamNames, Version,
    config::{Config, Period},
};
use birbnest_e2e::wait::{eventually, eventually_within, seen};
use birbnest_stores::jetstream::{DeadLetter, DeadLetters};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::nest::{Nest, PARTITION, id};

/// A trigger that rejects by the default state of `RAISE`.
const NO_OWLS: &str = "
    CREATE FUNCTION birbnest.no_owls() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.key LIKE 'owl%' THEN RAISE EXCEPTION E'no\\nowls'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER no_owls BEFORE INSERT ON birbnest.cache_entries FOR EACH ROW EXECUTE FUNCTION birbnest.no_owls()";
const NO_POISON: &str =
    "ALTER TABLE birbnest.cache_entries ADD CONSTRAINT story CHECK (key NOT LIKE 'poison%')";

const ERRORS: &str = "birbnest_worker_upsert_errors_total";

async fn run(nest: &Nest, sql: &str) {
    let mut connection = PgConnection::connect(&nest.secrets.postgres_url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
}

fn letters(nest: &Nest) -> DeadLetters {
    let names = StreamNames::new(&nest.config.stream.prefix);
    DeadLetters::new(nest.jetstream.clone(), names.into())
}

async fn all(nest: &Nest) -> Vec<DeadLetter> {
    let (letters, mut found, mut after) = (letters(nest), Vec::new(), 0);
    while let Some(waiting) = letters.next(after).await.unwrap() {
        after = waiting.id;
        found.push(waiting.letter);
    }
    found
}

async fn until_letters(nest: &Nest, count: usize) -> Vec<DeadLetter> {
    eventually(&format!("there are {count} dead letters"), || async {
        seen(all(nest).await, |letters| letters.len() == count)
    })
    .await
}

fn key_of(letter: &DeadLetter) -> (String, Version) {
    let entry = letter.entry().unwrap().unwrap();
    (entry.record.id.key.to_string(), entry.version)
}

#[tokio::test]
async fn a_row_that_postgresql_rejects_becomes_a_dead_letter_and_the_others_are_persisted() {
    let nest = Nest::open().await;
    run(&nest, NO_POISON).await;
    run(&nest, NO_OWLS).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for i in 0..20 {
        nest.put(&format!("before{i}"), "1").await;
    }
    let versions = [
        nest.put("poison", "{ \"a\":1.50 }").await,
        nest.put("owl", "2").await,
        nest.put("deep", &deep).await,
    ];
    for i in 0..20 {
        nest.put(&format!("after{i}"), "1").await;
    }
    let worker = nest.worker().await;
    for i in 0..20 {
        nest.until_text(&format!("before{i}"), "1").await;
        nest.until_text(&format!("after{i}"), "1").await;
    }
    let mut letters = until_letters(&nest, 3).await;
    nest.until_all_acknowledged().await;
    letters.sort_by_key(|letter| letter.version);
    let told: Vec<_> = letters.iter().map(key_of).collect();
    let keys = ["poison", "owl", "deep"].map(str::to_owned);
    assert_eq!(told, keys.into_iter().zip(versions).collect::<Vec<_>>());
    let states: Vec<_> = letters.iter().map(|letter| letter.sqlstate.as_deref()).collect();
    assert_eq!(states, [Some("23514"), Some("P0001"), Some("54001")]);
    assert!(
        letters[0].reason.contains("violates check constraint"),
        "{}",
        letters[0].reason
    );
    assert_eq!(letters[1].reason, "no owls");
    for letter in &letters {
        assert_eq!((letter.partition, letter.attempts), (PARTITION, 3));
        assert_eq!(letter.sequence, letter.version.unwrap().get());
        assert!(nest.text(&key_of(letter).0).await.unwrap().is_none());
    }
    let metric = worker
        .metric("birbnest_worker_dead_letters_total{reason=\"constraint\"}")
        .await;
    assert!((metric - 1.0).abs() < f64::EPSILON);
    eventually("the janitor counts them, and purges everything", || async {
        let waiting = worker.metric("birbnest_worker_dead_letters_waiting").await;
        let left = nest.stream().await.cached_info().state.messages;
        seen((waiting, left), |(waiting, left)| *waiting >= 3.0 && *left == 0)
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_good_value_takes_the_place_of_a_rejected_one_that_still_waits() {
    let mut config = Config::default();
    config.worker.retry.max_attempts = 20;
    let nest = Nest::with(config).await;
    run(
        &nest,
        "ALTER TABLE birbnest.cache_entries ADD CONSTRAINT story CHECK (value::text <> '1')",
    )
    .await;
    let worker = nest.worker().await;
    nest.put("poison", "1").await;
    eventually("it is tried again", || async {
        let metric = "birbnest_worker_messages_set_aside_total{reason=\"constraint\"}";
        seen(worker.metric(metric).await, |count| *count >= 2.0)
    })
    .await;
    nest.put("poison", "\"cured\"").await;
    nest.until_text("poison", "\"cured\"").await;
    nest.until_all_acknowledged().await;
    assert_eq!(all(&nest).await, []);
    worker.stop().await;
}

#[tokio::test]
async fn a_message_that_nobody_can_read_becomes_a_dead_letter() {
    let nest = Nest::open().await;
    nest.put("before", "1").await;
    let subject = StreamNames::new(&nest.config.stream.prefix).subject(PARTITION, id("strange").hash());
    let sent = nest.jetstream.publish(subject, "no json".into()).await.unwrap();
    sent.await.unwrap();
    nest.put("after", "2").await;
    let worker = nest.worker().await;
    nest.until_text("before", "1").await;
    nest.until_text("after", "2").await;
    let letters = until_letters(&nest, 1).await;
    nest.until_all_acknowledged().await;
    assert_eq!(
        (letters[0].payload.as_ref(), letters[0].sequence),
        (b"no json".as_slice(), 2)
    );
    assert!(letters[0].reason.contains("Birb-Base"), "{}", letters[0].reason);
    assert_eq!((letters[0].version, letters[0].attempts), (None, 3));
    worker.stop().await;
}

#[tokio::test]
async fn without_room_for_dead_letters_the_write_stays_in_the_stream() {
    let nest = Nest::open().await;
    run(&nest, NO_POISON).await;
    let names = StreamNames::new(&nest.config.stream.prefix);
    let mut settings = nest
        .jetstream
        .get_stream(names.dead())
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(settings.storage, StorageType::File);
    settings.max_messages = 1;
    nest.jetstream.update_stream(&settings).await.unwrap();
    nest.put("poison1", "1").await;
    nest.put("good", "1").await;
    let worker = nest.worker().await;
    until_letters(&nest, 1).await;
    nest.put("poison2", "2").await;
    nest.put("better", "1").await;
    nest.until_text("better", "1").await;
    eventually("it cannot be moved", || async {
        let failed = worker.metric("birbnest_worker_dead_letters_failed_total").await;
        seen(failed, |count| *count >= 1.0)
    })
    .await;
    nest.until_consumer("it stays unacknowledged", |info| info.num_ack_pending == 1)
        .await;

    settings.max_messages = 10;
    nest.jetstream.update_stream(&settings).await.unwrap();
    eventually_within(
        Duration::from_mins(1),
        "it is moved once there is room",
        || async { seen(all(&nest).await, |letters| letters.len() == 2) },
    )
    .await;
    nest.until_all_acknowledged().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_write_that_comes_again_after_its_letter_was_sent_makes_no_second_one() {
    let mut config = Config::default();
    // The stream keeps what was acknowledged.
    config.stream.horizon = Period::from_secs(3_600);
    let nest = Nest::with(config).await;
    run(&nest, NO_POISON).await;
    nest.put("poison", "1").await;
    let worker = nest.worker().await;
    let sent = until_letters(&nest, 1).await;
    nest.until_all_acknowledged().await;
    worker.stop().await;
    // As if the worker had died before its acknowledgement: a new consumer delivers everything again.
    nest.make_consumer_anew().await;
    let worker = nest.worker().await;
    eventually("it was moved again", || async {
        let moved = worker
            .metric("birbnest_worker_dead_letters_total{reason=\"constraint\"}")
            .await;
        seen(moved, |count| *count >= 1.0)
    })
    .await;
    nest.until_all_acknowledged().await;
    assert_eq!(all(&nest).await, sent);
    worker.stop().await;
}

#[tokio::test]
async fn a_postgresql_that_ends_or_refuses_to_write_makes_no_dead_letters() {
    let mut config = Config::default();
    config.worker.retry.max_attempts = 1;
    let (nest, server) = Nest::apart(config).await;
    let worker = nest.worker().await;
    // Passing the fence writes to PostgreSQL; afterwards the log needs it no more.
    nest.put("healthy", "1").await;
    nest.until_text("healthy", "1").await;
    let fails = |metric: &'static str, before: f64| {
        let worker = &worker;
        eventually("a statement fails", move || async move {
            seen(worker.metric(metric).await, |count| *count > before)
        })
    };
    for trouble in ["read-only", "locked", "killed"] {
        let before = worker.metric(ERRORS).await;
        let mut lock = None;
        match trouble {
            "read-only" => server.read_only(true).await,
            "locked" => lock = Some(locked(&nest).await),
            _ => server.kill9(),
        }
        nest.put(trouble, "1").await;
        fails(ERRORS, before).await;
        match lock {
            Some(lock) => lock.close().await.unwrap(),
            None if trouble == "read-only" => server.read_only(false).await,
            None => server.start().await,
        }
        nest.until_text(trouble, "1").await;
    }
    nest.until_all_acknowledged().await;
    assert_eq!(all(&nest).await, []);
    worker.stop().await;
}

/// A session that keeps everybody from the table, so that statements reach their time limit and are cancelled.
async fn locked(nest: &Nest) -> PgConnection {
    let mut connection = PgConnection::connect(&nest.secrets.postgres_url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE birbnest.cache_entries IN EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
    connection
}
