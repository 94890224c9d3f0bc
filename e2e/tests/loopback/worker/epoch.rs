//! What was delivered in one epoch settles nothing of another.

use std::time::Duration;

use async_nats::jetstream::{
    AckKind, Message,
    consumer::{Consumer, pull},
};
use birbnest_core::{DrainTerm, StreamNames};
use birbnest_e2e::wait::{eventually, seen};
use birbnest_migrate::Tasks;
use futures::TryStreamExt;

use super::nest::{Nest, PARTITION};

/// Takes everything that the epoch's consumer delivers, and settles nothing.
async fn in_hand(nest: &Nest, epoch: i64, count: usize) -> Vec<Message> {
    let stream = nest.stream().await;
    let name = DrainTerm { epoch, replay: 0 }.consumer();
    let consumer: Consumer<pull::Config> = stream.get_consumer(&name).await.unwrap();
    // A consumer is listed a moment before it can be asked.
    let messages = eventually("the consumer delivers", || async {
        let batch = consumer
            .fetch()
            .max_messages(count)
            .expires(Duration::from_secs(5));
        let messages = batch.messages().await.map_err(|error| error.to_string())?;
        let messages: Result<Vec<Message>, _> = messages.try_collect().await;
        messages.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(messages.len(), count);
    messages
}

fn sequence(message: &Message) -> u64 {
    message.info().unwrap().stream_sequence
}

#[tokio::test]
async fn a_late_acknowledgement_of_an_older_epoch_settles_no_new_message() {
    let nest = Nest::open().await;
    for i in 0..5 {
        nest.put(&format!("old{i}"), "0").await;
    }
    let old = in_hand(&nest, 1, 5).await;

    // The stream is lost and made anew: its sequences repeat.
    let name = StreamNames::new(&nest.config.stream.prefix).stream(PARTITION);
    nest.jetstream.delete_stream(&name).await.unwrap();
    let tasks = Tasks {
        with_streams: true,
        ..Tasks::default()
    };
    birbnest_migrate::run(&nest.config, &nest.secrets, tasks)
        .await
        .unwrap();
    nest.put("first", "0").await;
    nest.put("k", "1").await;
    assert_eq!(nest.postgres.fence(PARTITION).await.unwrap().unwrap().epoch, 2);
    let messages = nest.stream().await.cached_info().state.messages;
    let new = in_hand(&nest, 2, usize::try_from(messages).unwrap()).await;
    let last = new.last().unwrap();
    let twin = old.iter().find(|old| sequence(old) == sequence(last));
    let twin = twin.expect("a message of the old stream has the sequence of the new one");

    // It comes to a consumer that is no more. The client takes also "nobody listens" for an answer.
    let _answered = twin.double_ack().await;
    // Its worker gives the new message back. Had it been settled, nobody would ever persist it.
    for message in &new {
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    let worker = nest.worker().await;
    nest.until_text("k", "1").await;
    nest.until_all_acknowledged().await;
    worker.stop().await;
}

#[tokio::test]
async fn what_an_earlier_epoch_left_is_persisted_however_long_the_drain_takes() {
    let nest = Nest::open().await;
    for i in 0..10 {
        nest.put(&format!("old{i}"), "0").await;
    }
    // NATS comes back as another process, with everything that it had.
    let fence = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
    let raised = nest
        .postgres
        .raise_epoch(PARTITION, fence.epoch, &fence.incarnation, 10, None)
        .await;
    assert_eq!(raised.unwrap().into_fence().epoch, 2);
    eventually("the new epoch has its consumer", || async {
        seen(nest.consumer().await, |name| {
            *name == DrainTerm { epoch: 2, replay: 0 }.consumer()
        })
    })
    .await;

    // The first half is settled; the rest is in somebody's hands for longer than the horizon.
    let messages = in_hand(&nest, 2, 10).await;
    let (settled, waiting) = messages.split_at(5);
    for message in settled {
        message.double_ack().await.unwrap();
    }
    let worker = nest.worker().await;
    eventually("the settled half is purged", || async {
        let fence = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
        seen(fence, |fence| fence.purge_sequence == 5)
    })
    .await;
    for message in waiting {
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    for i in 5..10 {
        nest.until_text(&format!("old{i}"), "0").await;
    }
    worker.stop().await;
}
