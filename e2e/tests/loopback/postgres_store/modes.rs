//! From the queue to PostgreSQL and back, as the fence row sees it.

use std::num::NonZeroU64;

use birbnest_core::Version;
use birbnest_stores::postgres::{Fence, Mode, Observed, Postgres, Raised, WrittenThrough};

use super::table::{PARTITION, incarnation, stored, table, text, tombstone, value, version};

async fn fence(postgres: &Postgres) -> Fence {
    postgres.fence(PARTITION).await.unwrap().unwrap()
}

async fn closed() -> Postgres {
    let postgres = table().await;
    assert!(postgres.close_queue(PARTITION, 1).await.unwrap());
    postgres
}

async fn written_through() -> Postgres {
    let postgres = closed().await;
    assert!(postgres.begin_writing_through(PARTITION, 1).await.unwrap());
    postgres
}

/// Writes past the queue; returns the last version.
async fn write(postgres: &Postgres, key: &str, texts: &[&str]) -> Version {
    let records: Vec<_> = texts.iter().map(|text| value(key, 1, text).record).collect();
    match postgres.write_through(PARTITION, &records, false).await.unwrap() {
        WrittenThrough::Committed { versions, .. } => *versions.last().unwrap(),
        WrittenThrough::Closed => panic!("postgresql takes no writes"),
    }
}

#[tokio::test]
async fn each_step_is_made_once_and_only_from_the_one_before() {
    let postgres = table().await;
    assert!(!postgres.begin_writing_through(PARTITION, 1).await.unwrap());
    assert!(postgres.close_queue(PARTITION, 1).await.unwrap());
    assert!(!postgres.close_queue(PARTITION, 1).await.unwrap());
    assert!(postgres.begin_writing_through(PARTITION, 1).await.unwrap());
    assert!(!postgres.begin_writing_through(PARTITION, 1).await.unwrap());
    assert!(!postgres.close_queue(PARTITION, 2).await.unwrap());
    let two = incarnation("two");
    assert!(!postgres.reopen_queue(PARTITION, 1, &two, 0, None).await.unwrap());
    let through = fence(&postgres).await;
    assert_eq!((through.mode, through.epoch), (Mode::Through, 2));
    assert!(postgres.reopen_queue(PARTITION, 2, &two, 0, None).await.unwrap());
    assert!(!postgres.reopen_queue(PARTITION, 2, &two, 0, None).await.unwrap());
    let queue = fence(&postgres).await;
    assert_eq!(
        (queue.mode, queue.epoch, queue.incarnation),
        (Mode::Queue, 3, two)
    );
    assert!(queue.base > through.base);
    assert!(queue.generation > through.generation);
}

#[tokio::test]
async fn nobody_raises_the_epoch_of_a_queue_that_is_closed() {
    let postgres = closed().await;
    let raised = postgres
        .raise_epoch(PARTITION, 1, &incarnation("two"), 7, None)
        .await
        .unwrap();
    let Raised::Elsewhere(fence) = raised else {
        panic!("{raised:?}")
    };
    assert_eq!((fence.mode, fence.epoch), (Mode::Closing, 1));
}

#[tokio::test]
async fn writes_past_the_queue_lie_above_an_epoch_of_which_nothing_is_recorded() {
    let postgres = table().await;
    let raised = postgres
        .raise_epoch(PARTITION, 1, &incarnation("two"), 900, None)
        .await;
    let raised = raised.unwrap().into_fence();
    assert!(postgres.close_queue(PARTITION, 2).await.unwrap());
    assert!(postgres.begin_writing_through(PARTITION, 2).await.unwrap());
    let first = write(&postgres, "robin", &["1"]).await;
    let acknowledged = raised.base.version(NonZeroU64::new(1_000).unwrap()).unwrap();
    assert!(first > acknowledged, "{first} after {acknowledged}");
}

#[tokio::test]
async fn writes_past_the_queue_lie_between_the_epochs_around_them() {
    let postgres = table().await;
    postgres
        .upsert(PARTITION, &[value("robin", 9, "9")])
        .await
        .unwrap();
    postgres.close_queue(PARTITION, 1).await.unwrap();
    postgres.begin_writing_through(PARTITION, 1).await.unwrap();
    let base = fence(&postgres).await.base;
    let first = write(&postgres, "robin", &["10", "11"]).await;
    assert_eq!(first.get(), base.get() + 2);
    let second = write(&postgres, "wren", &["1"]).await;
    assert_eq!(second.get(), base.get() + 3);
    assert_eq!(text(&stored(&postgres, "robin").await.unwrap()), "11");

    // What the stream still holds of the epoch before comes late.
    let late = [tombstone("robin", 10), value("wren", 11, "2")];
    postgres.upsert(PARTITION, &late).await.unwrap();
    assert_eq!(stored(&postgres, "robin").await.unwrap().version, first);
    assert_eq!(stored(&postgres, "wren").await.unwrap().version, second);

    postgres
        .reopen_queue(PARTITION, 2, &incarnation("one"), 0, None)
        .await
        .unwrap();
    assert!(fence(&postgres).await.base.get() > second.get());
}

#[tokio::test]
async fn postgresql_takes_writes_only_while_the_fence_says_so() {
    let postgres = closed().await;
    let records = [value("robin", 1, "1").record];
    let refused = postgres.write_through(PARTITION, &records, false).await.unwrap();
    assert_eq!(refused, WrittenThrough::Closed);
    assert!(stored(&postgres, "robin").await.is_none());
}

#[tokio::test]
async fn a_write_that_redis_does_not_know_of_makes_every_copy_void_when_it_commits() {
    let postgres = written_through().await;
    let before = fence(&postgres).await.generation;
    write(&postgres, "robin", &["1"]).await;
    assert_eq!(fence(&postgres).await.generation, before);
    let records = [value("robin", 1, "2").record];
    postgres.write_through(PARTITION, &records, true).await.unwrap();
    assert_eq!(fence(&postgres).await.generation, before + 1);
}

#[tokio::test]
async fn what_the_janitor_saw_before_postgresql_took_the_writes_is_not_recorded() {
    let postgres = table().await;
    let seen = fence(&postgres).await;
    postgres.close_queue(PARTITION, 1).await.unwrap();
    postgres.begin_writing_through(PARTITION, 1).await.unwrap();
    let observed = Observed {
        term: seen.term(),
        incarnation: seen.incarnation,
        mark: version(5),
        purge_sequence: 5,
        highest_version: version(5),
    };
    assert!(!postgres.record_mark(PARTITION, &observed).await.unwrap());
}
