//! The fence row, and who leads.

use birbnest_core::{Base, Partition, Version};
use birbnest_e2e::{servers::PostgresServer, wait::eventually};
use birbnest_stores::{
    epoch::{Beginning, Remembered},
    postgres::{Observed, PostgresError, Raised},
};

use sqlx::{Connection, PgConnection};

use super::table::{BEGINNING, PARTITION, incarnation, mark, table, table_at, version};

#[tokio::test]
async fn the_first_fence_row_wins() {
    let postgres = table().await;
    let two = incarnation("two");
    let second = postgres
        .create_fence_if_absent(PARTITION, "other", &two, BEGINNING)
        .await
        .unwrap();
    assert_eq!((second.stream.as_str(), second.epoch), ("cache_persist_0", 1));
    assert_eq!(postgres.fences().await.unwrap(), [second]);
    assert!(postgres.fence(Partition(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_epoch_that_was_lost_goes_on_and_what_settled_its_messages_does_not_count() {
    let postgres = table().await;
    let beginning = Beginning {
        epoch: 7,
        base: Base::new(7 << 32).unwrap(),
        replays: true,
    };
    let one = incarnation("one");
    let created = postgres.create_fence_if_absent(Partition(1), "s", &one, beginning);
    let created = created.await.unwrap();
    assert_eq!((created.epoch, created.base), (7, beginning.base));
    assert!(created.replay > 0);

    mark(&postgres, 700).await;
    let lost = Remembered {
        epoch: 7,
        base: beginning.base,
        incarnation: incarnation("two"),
    };
    let before = postgres.fence(PARTITION).await.unwrap().unwrap();
    let restored = postgres.restore_epoch(PARTITION, 1, &lost).await.unwrap();
    let Raised::Here(fence) = restored else {
        panic!("{restored:?}")
    };
    assert_eq!(
        (fence.epoch, fence.base, &fence.incarnation),
        (7, lost.base, &lost.incarnation)
    );
    assert_eq!((fence.mark, fence.purge_sequence), (version(700), 0));
    assert!(fence.generation > before.generation);
    assert!(fence.replay > 0, "what was acknowledged may be lost as well");
    let again = postgres.restore_epoch(PARTITION, 1, &lost).await.unwrap();
    assert_eq!(again, Raised::Elsewhere(fence));
}

#[tokio::test]
async fn an_epoch_that_was_lost_with_its_stream_is_not_given_again() {
    let postgres = table().await;
    let lost = Remembered {
        epoch: 7,
        base: Base::new(7 << 32).unwrap(),
        incarnation: incarnation("two"),
    };
    let three = incarnation("three");
    let raised = postgres.raise_epoch(PARTITION, 1, &three, 900, Some(&lost));
    let raised = raised.await.unwrap().into_fence();
    assert_eq!(raised.epoch, 8);
    assert_eq!(raised.base.get(), (7 << 32) + 900 + (1 << 32));
}

#[tokio::test]
async fn of_many_who_raise_the_epoch_one_does() {
    let postgres = table().await;
    mark(&postgres, 700).await;
    let before = postgres.fence(PARTITION).await.unwrap().unwrap();
    let raises = (0..8).map(|i| {
        let (postgres, stream) = (postgres.clone(), incarnation(&format!("two {i}")));
        tokio::spawn(async move {
            postgres
                .raise_epoch(PARTITION, 1, &stream, 900, None)
                .await
                .unwrap()
        })
    });
    let mut here = Vec::new();
    for raise in raises.collect::<Vec<_>>() {
        match raise.await.unwrap() {
            Raised::Here(fence) => here.push(fence),
            Raised::Elsewhere(fence) => assert_eq!(fence.epoch, 2),
        }
    }
    let [fence] = here.try_into().unwrap();
    assert_eq!(fence.base.get(), 900 + (1 << 32));
    assert_eq!((fence.mark, fence.purge_sequence), (version(700), 0));
    assert_eq!(fence.generation, before.generation + 1);
    assert_eq!(postgres.fence(PARTITION).await.unwrap().unwrap(), fence);
}

#[tokio::test]
async fn an_observation_of_an_epoch_that_is_over_is_not_recorded() {
    let postgres = table().await;
    let old = postgres.fence(PARTITION).await.unwrap().unwrap();
    postgres
        .raise_epoch(PARTITION, 1, &incarnation("two"), 50, None)
        .await
        .unwrap();
    let observed = Observed {
        term: old.term(),
        incarnation: old.incarnation,
        mark: version(50),
        purge_sequence: 50,
        highest_version: version(50),
    };
    assert!(!postgres.record_mark(PARTITION, &observed).await.unwrap());
    assert_eq!(
        postgres.fence(PARTITION).await.unwrap().unwrap().mark,
        Version::ZERO
    );
}

#[tokio::test]
async fn a_failover_begins_one_replay_and_before_it_nothing_counts_as_persisted() {
    let url = PostgresServer::shared().await.fresh_database().await;
    let (postgres, config) = table_at(&url).await;
    let before = postgres.fence(PARTITION).await.unwrap().unwrap();
    assert!(!before.failed_over);
    assert!(!postgres.replay_after_failover(PARTITION).await.unwrap());

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let moved = format!("UPDATE {}.fence SET history = '7/00000001'", config.schema);
    let moved = sqlx::query(sqlx::AssertSqlSafe(moved));
    moved.execute(&mut connection).await.unwrap();
    let observed = Observed {
        term: before.term(),
        incarnation: before.incarnation.clone(),
        mark: version(50),
        purge_sequence: 50,
        highest_version: version(50),
    };
    assert!(postgres.fence(PARTITION).await.unwrap().unwrap().failed_over);
    assert!(!postgres.record_mark(PARTITION, &observed).await.unwrap());

    assert!(postgres.replay_after_failover(PARTITION).await.unwrap());
    assert!(!postgres.replay_after_failover(PARTITION).await.unwrap());
    let after = postgres.fence(PARTITION).await.unwrap().unwrap();
    assert!(!after.failed_over && after.term() > before.term() && after.generation > before.generation);
    assert_eq!(
        (after.epoch, after.base, after.mark),
        (before.epoch, before.base, before.mark)
    );
    assert!(!postgres.record_mark(PARTITION, &observed).await.unwrap());
}

#[tokio::test]
async fn the_generation_only_goes_up() {
    let postgres = table().await;
    let first = postgres.raise_generation(PARTITION).await.unwrap();
    assert_eq!(postgres.raise_generation(PARTITION).await.unwrap(), first + 1);
    assert_eq!(
        postgres.fence(PARTITION).await.unwrap().unwrap().generation,
        first + 1
    );
    assert!(matches!(
        postgres.raise_generation(Partition(5)).await,
        Err(PostgresError::NoFence(_))
    ));
}

#[tokio::test]
async fn the_leadership_passes_on_when_the_leader_is_gone() {
    let postgres = table().await;
    let mut leader = postgres
        .try_lead("janitor")
        .await
        .unwrap()
        .expect("nobody else leads");
    leader.confirm().await.unwrap();
    assert!(postgres.try_lead("janitor").await.unwrap().is_none());
    assert!(postgres.try_lead("something else").await.unwrap().is_some());
    drop(leader);
    eventually("the lock ends with its connection", || async {
        postgres
            .try_lead("janitor")
            .await
            .unwrap()
            .ok_or("it is still held")
    })
    .await;
}
