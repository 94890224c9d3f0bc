//! Hits: what HTTP and the rules of the cache cost on top of a GET in Redis.

use std::process::Command;

use anyhow::{Context, ensure};
use birbnest_e2e::{house::House, servers::program};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    KEYS, Settings,
    measure::{Comparison, Run},
    usage::Usage,
    value,
    webdis::Webdis,
    writes::paths,
    wrk,
};

/// Keys of one batch: as many as the API takes.
const BATCH: usize = 100;
/// Requests at a time while the cache is filled.
const FILLERS: usize = 64;

/// GETs of cached entries beside those of Redis itself.
pub(crate) async fn compare(
    name: &str,
    house: &House,
    keys: usize,
    size: usize,
    settings: &Settings,
) -> anyhow::Result<Comparison> {
    let paths = paths(keys);
    fill(house, &paths, size).await?;
    fill_redis(house, keys, size).await?;
    let mut comparison = Comparison::new(name, "redis-benchmark GET", size, settings);
    let mut usage = Usage::default();
    for _ in 0..settings.rounds {
        let ours = usage.over(house, || wrk::get(house.api().client.base(), &paths, settings))?;
        comparison.ours.push(ours);
        let goal = comparison
            .theirs
            .last()
            .map_or(20_000.0, |run: &Run| run.per_second);
        comparison
            .theirs
            .push(redis_benchmark(house, keys, goal, settings)?);
    }
    comparison.usage = usage.per_operation(&comparison.ours, settings);
    Ok(comparison)
}

/// Batches of a hundred keys beside single GETs; both count keys.
pub(crate) async fn compare_batches(
    house: &House,
    size: usize,
    settings: &Settings,
) -> anyhow::Result<Comparison> {
    let (paths, base) = (paths(KEYS), house.api().client.base());
    fill(house, &paths, size).await?;
    let bodies: Vec<_> = paths.chunks(BATCH).map(batch_body).collect();
    let mut comparison = Comparison::new("batch get, keys", "single GETs", size, settings);
    for _ in 0..settings.rounds {
        let mut ours = wrk::post_any(base, "/v1/cache/batch/get", &bodies, settings)?;
        #[allow(clippy::cast_precision_loss, reason = "a hundred")]
        let keys = BATCH as f64;
        ours.per_second *= keys;
        comparison.ours.push(ours);
        comparison.theirs.push(wrk::get(base, &paths, settings)?);
    }
    Ok(comparison)
}

fn batch_body(paths: &[String]) -> String {
    let keys = paths
        .iter()
        .map(|path| format!(r#""{}""#, path.trim_start_matches("/v1/cache/")));
    format!(r#"{{"keys": [{}]}}"#, keys.collect::<Vec<_>>().join(","))
}

/// GETs of cached entries beside those of webdis, which serves the same Redis over HTTP and nothing else.
pub(crate) async fn compare_webdis(
    house: &House,
    webdis: &Webdis,
    size: usize,
    settings: &Settings,
) -> anyhow::Result<Comparison> {
    let (ours, theirs) = (
        paths(KEYS),
        (0..KEYS)
            .map(|key| format!("/GET/{}", redis_key(key)))
            .collect::<Vec<_>>(),
    );
    fill(house, &ours, size).await?;
    fill_redis(house, KEYS, size).await?;
    let mut comparison = Comparison::new("GET hit", "webdis GET", size, settings);
    for _ in 0..settings.rounds {
        comparison
            .ours
            .push(wrk::get(house.api().client.base(), &ours, settings)?);
        comparison
            .theirs
            .push(wrk::get(webdis.base(), &theirs, settings)?);
    }
    Ok(comparison)
}

/// A write replaces a cached copy and a read fills an absent one: two passes over all keys, and each is a hit.
async fn fill(house: &House, paths: &[String], size: usize) -> anyhow::Result<()> {
    let (client, body) = (&house.api().client, format!(r#"{{"value": {}}}"#, value(size)));
    let filled = paths.iter().map(|path| {
        let body = body.clone();
        async move {
            let post = client
                .request(reqwest::Method::POST, path)
                .body("application/json", body);
            ensure!(post.send().await.status == 201, "cannot write {path}");
            let get = client.request(reqwest::Method::GET, path);
            ensure!(get.send().await.status == 200, "cannot read {path}");
            Ok(())
        }
    });
    stream::iter(filled).buffer_unordered(FILLERS).try_collect().await
}

/// As `redis-benchmark` makes it of `__rand_int__`.
fn redis_key(number: usize) -> String {
    format!("bench:{number:012}")
}

async fn fill_redis(house: &House, keys: usize, size: usize) -> anyhow::Result<()> {
    let mut connection = house.redis.connect().await?;
    let value = value(size);
    let mut pipe = redis::pipe();
    for key in 0..keys {
        pipe.set(redis_key(key), &value).ignore();
    }
    pipe.query_async::<()>(&mut connection).await?;
    Ok(())
}

/// It runs for a number of requests and not for a time: as many as it did per second in the round before.
fn redis_benchmark(house: &House, keys: usize, per_second: f64, settings: &Settings) -> anyhow::Result<Run> {
    let url = reqwest::Url::parse(&house.redis.url())?;
    let port = url.port().context("port")?.to_string();
    let requests = format!("{:.0}", per_second * settings.duration().as_secs_f64());
    let (connections, keys) = (settings.connections.to_string(), keys.to_string());
    let output = Command::new(program("redis-benchmark", "BIRBNEST_REDIS_BENCHMARK", &[]))
        .args(["-h", "127.0.0.1", "-p", &port, "-n", &requests])
        .args(["-c", &connections, "-r", &keys, "--precision", "3"])
        .args(["GET", "bench:__rand_int__"])
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
