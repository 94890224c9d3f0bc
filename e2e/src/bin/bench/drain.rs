//! A full queue: what the queue, versions and the upsert cost on top of COPY.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::ensure;
use async_nats::jetstream::{
    Context,
    consumer::{Consumer, pull},
};
use birbnest_core::{Base, DrainTerm, StreamNames};
use birbnest_e2e::{
    house::House,
    wait::{eventually_within, seen},
};
use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    Settings,
    measure::{Comparison, Run},
    value,
    writes::{Message, layout, message, partitions, purge, send, version},
};

pub(crate) async fn compare(house: &House, size: usize, settings: &Settings) -> anyhow::Result<Comparison> {
    let schema = &house.config.postgres.schema;
    let table = format!("{schema}.cache_entries");
    let mut postgres = PgConnection::connect(&house.postgres.url()).await?;
    let sql = format!("CREATE TABLE IF NOT EXISTS copied (LIKE {table} INCLUDING ALL)");
    postgres.execute(AssertSqlSafe(sql)).await?;
    let base: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT base FROM {schema}.fence WHERE partition = 0"
    )))
    .fetch_one(&mut postgres)
    .await?;
    let base = Base::new(base.cast_unsigned())?;
    let names = StreamNames::new(&house.config.stream.prefix);
    let messages: Vec<_> = (0..settings.backlog as usize)
        .map(|number| message(&names, layout(settings), number, size, base))
        .collect::<anyhow::Result<_>>()?;

    let jetstream = house.nats.jetstream().await;
    let name = format!("drain of {}k", settings.backlog / 1000);
    let mut comparison = Comparison::new(&name, "COPY", size, settings);
    for _ in 0..settings.rounds {
        postgres
            .execute(AssertSqlSafe(format!("TRUNCATE {table}, copied")))
            .await?;
        purge(&jetstream, &names, settings).await?;
        let last = enqueue(&jetstream, &messages).await?;
        comparison.ours.push(drain(house, &jetstream, settings).await?);
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut postgres)
            .await?;
        ensure!(rows == i64::from(settings.backlog), "{rows} rows were stored");
        comparison
            .theirs
            .push(copy(&mut postgres, size, version(base, last)?, settings).await?);
    }
    Ok(comparison)
}

/// Fills the queue; returns the sequence of the last message.
async fn enqueue(jetstream: &Context, messages: &[Message]) -> anyhow::Result<u64> {
    let mut last = 0;
    for part in messages.chunks(1_000) {
        let mut acks = Vec::with_capacity(part.len());
        for message in part {
            acks.push(send(jetstream, message).await?);
        }
        for ack in acks {
            last = ack.await?.sequence;
        }
    }
    Ok(last)
}

/// Starts the worker and takes the time until nothing is queued and nothing is unacknowledged. The start of the process
/// is part of it.
async fn drain(house: &House, jetstream: &Context, settings: &Settings) -> anyhow::Result<Run> {
    let names = StreamNames::new(&house.config.stream.prefix);
    let mut consumers = vec![];
    for partition in partitions(settings) {
        let stream = jetstream.get_stream(names.stream(partition)).await?;
        let first = DrainTerm { epoch: 1, replay: 0 };
        let consumer = stream.get_consumer::<pull::Config>(&first.consumer()).await;
        consumers.push(consumer.map_err(anyhow::Error::from_boxed)?);
    }
    let began = Instant::now();
    house.worker().process().start();
    eventually_within(Duration::from_mins(2), "the queue is drained", || {
        let infos = try_join_all(consumers.iter().map(Consumer::get_info));
        async {
            let infos = infos.await.map_err(|error| error.to_string())?;
            let left = infos
                .iter()
                .map(|info| info.num_pending + info.num_ack_pending as u64);
            seen(left.sum::<u64>(), |left| *left == 0)
        }
    })
    .await;
    let took = began.elapsed();
    house.worker().stop().await;
    Ok(rate(settings, took))
}

/// The same rows into an empty table with the same indexes, in one statement on one connection.
async fn copy(
    postgres: &mut PgConnection,
    size: usize,
    version: i64,
    settings: &Settings,
) -> anyhow::Result<Run> {
    let value = value(size);
    let mut text = String::new();
    for number in 0..settings.backlog {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "global\tbench-{number}\t{version}\tnow\tnow\t0\t{value}");
    }
    let began = Instant::now();
    let columns = "instance, key, version, created_at, updated_at, partition, value";
    let mut copy = postgres
        .copy_in_raw(&format!("COPY copied ({columns}) FROM STDIN"))
        .await?;
    copy.send(text.as_bytes()).await?;
    copy.finish().await?;
    Ok(rate(settings, began.elapsed()))
}

fn rate(settings: &Settings, took: Duration) -> Run {
    Run {
        per_second: f64::from(settings.backlog) / took.as_secs_f64(),
        ..Run::default()
    }
}
