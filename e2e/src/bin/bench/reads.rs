//! Hits: what HTTP and the rules of the cache cost on top of a GET in Redis.

use std::process::Command;

use anyhow::{Context, ensure};
use birbnest_e2e::{house::House, servers::program};

use crate::{
    KEYS, Settings,
    measure::{Comparison, Run},
    value, wrk,
};

pub(crate) async fn compare(house: &House, size: usize, settings: &Settings) -> anyhow::Result<Comparison> {
    let paths = crate::writes::paths();
    let body = format!(r#"{{"value": {}}}"#, value(size));
    // A write replaces a cached copy and a read fills an absent one: two passes over all keys, and each is a hit.
    for path in &paths {
        let post = house
            .api()
            .client
            .request(reqwest::Method::POST, path)
            .body("application/json", body.clone());
        ensure!(post.send().await.status == 201, "cannot write {path}");
        ensure!(
            house
                .api()
                .client
                .request(reqwest::Method::GET, path)
                .send()
                .await
                .status
                == 200
        );
    }
    fill_redis(house, size).await?;
    let mut comparison = Comparison::new("GET hit", "redis-benchmark GET", size);
    for _ in 0..settings.rounds {
        comparison
            .ours
            .push(wrk::get(house.api().client.base(), &paths, settings)?);
        let goal = comparison
            .theirs
            .last()
            .map_or(20_000.0, |run: &Run| run.per_second);
        comparison.theirs.push(redis_benchmark(house, goal, settings)?);
    }
    Ok(comparison)
}

/// The keys that `redis-benchmark` makes of `__rand_int__`.
async fn fill_redis(house: &House, size: usize) -> anyhow::Result<()> {
    let mut connection = house.redis.connect().await?;
    let value = value(size);
    let mut pipe = redis::pipe();
    for key in 0..KEYS {
        pipe.set(format!("bench:{key:012}"), &value).ignore();
    }
    pipe.query_async::<()>(&mut connection).await?;
    Ok(())
}

/// It runs for a number of requests and not for a time: as many as it did per second in the round before.
fn redis_benchmark(house: &House, per_second: f64, settings: &Settings) -> anyhow::Result<Run> {
    let url = reqwest::Url::parse(&house.redis.url())?;
    let port = url.port().context("port")?.to_string();
    let requests = format!("{:.0}", per_second * settings.duration().as_secs_f64());
    let output = Command::new(program("redis-benchmark", "BIRBNEST_REDIS_BENCHMARK", &[]))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-n",
            &requests,
            "-c",
            &settings.connections.to_string(),
        ])
        .args([
            "-r",
            &KEYS.to_string(),
            "--precision",
            "3",
            "GET",
            "bench:__rand_int__",
        ])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "redis-benchmark: {text}");
    parse(&text).with_context(|| format!("redis-benchmark: {text}"))
}

/// Reads the throughput and the distribution, which has a line for every step: `99.902% <= 1.503 milliseconds …`.
fn parse(text: &str) -> Option<Run> {
    let throughput = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("throughput summary: "))?;
    let steps: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let (share, rest) = line.trim().split_once("% <= ")?;
            Some((share.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
        })
        .collect();
    let at = |share: f64| {
        steps
            .iter()
            .find(|(reached, _)| *reached >= share)
            .map(|(_, ms)| *ms)
    };
    Some(Run {
        per_second: throughput.split(' ').next()?.parse().ok()?,
        p50_ms: at(50.0)?,
        p99_ms: at(99.0)?,
        p999_ms: at(99.9)?,
        errors: 0,
    })
}
