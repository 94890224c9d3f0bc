//! Too much of everything: slow clients, large values, a long queue, a store that has stopped. Memory stays bounded, and
//! whoever asks for little is answered meanwhile.

use std::time::Duration;

use birbnest_core::config::Period;
use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::{House, Member},
    slow::{SlowClients, Slowness},
    wait::{PATIENCE, eventually, eventually_within, seen},
};
use futures::{StreamExt, future::join_all, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// Bytes of a value that is nearly as large as it may be.
const LARGE: usize = 900_000;
/// Most that an API or a worker may have in memory, with room below the limit of its pod (512 MiB).
const MOST_MB: f64 = 500.0;
/// What nineteen of twenty writes and reads of those who are not slow may take, on a busy machine.
const PROMPT: Duration = Duration::from_secs(1);

fn large() -> Value {
    json!("x".repeat(LARGE))
}

fn assert_small(member: &Member) {
    let peak = member.process().peak_mb();
    eprintln!("{} had at most {peak:.0} MB", member.process().name());
    assert!(peak < MOST_MB, "{} took {peak:.0} MB", member.process().name());
}

/// Writes and reads a small entry over and over. Nineteen of twenty are served, and promptly; the others are told to come
/// again.
async fn assert_served(client: &ApiClient, rounds: u32) {
    let (mut times, mut shed) = (Vec::new(), 0);
    for round in 0..rounds {
        let asked = Instant::now();
        let written = client.put("wren", json!(round)).await;
        let read = client.get("wren").await;
        if is_shed(&written) || is_shed(&read) {
            shed += 1;
            continue;
        }
        // 202 while Redis is busy with large entries: then it may have an older one.
        assert!(written.status.is_success(), "{written:?}");
        if written.status == 201 {
            assert_eq!(read.value(), json!(round));
        }
        times.push(asked.elapsed());
    }
    assert!(shed * 20 <= rounds, "{shed} of {rounds} were refused");
    times.sort_unstable();
    let (typical, slowest) = (times[(times.len() * 19).div_ceil(20) - 1], times[times.len() - 1]);
    eprintln!("a write and a read took {typical:?}, and {slowest:?} at most");
    assert!(typical < PROMPT, "a write and a read took {typical:?}");
}

/// Waits until a large entry can be read and written again.
async fn until_large_is_served(client: &ApiClient) {
    eventually("large entries are served", || async {
        let read = client.get("heron").await;
        seen(read.status, StatusCode::is_success)?;
        let written = client.put("egret", large()).await;
        seen(written.status, StatusCode::is_success)
    })
    .await;
}

#[tokio::test]
async fn a_thousand_slow_clients_stall_nobody_and_take_little_memory() {
    let house = House::open().await;
    let client = &house.api().client;
    client.put("heron", large()).await.expect(201);
    client.get("heron").await.expect(200);

    let slow = (0..1_000).map(|number| match number % 4 {
        0 => Slowness::EndlessHead,
        1 => Slowness::EndlessBody(LARGE),
        _ => Slowness::Unread("/v1/cache/heron".to_owned()),
    });
    let address = house.api().address();
    let (slow, ()) = tokio::join!(SlowClients::start(&address, slow), assert_served(client, 300));
    assert_served(client, 100).await;
    until_large_is_served(client).await;
    assert_small(house.api());
    drop(slow);
}

#[tokio::test]
async fn batches_of_large_entries_are_refused_before_they_fill_the_memory() {
    let house = House::open().await;
    let client = &house.api().client;
    let keys: Vec<String> = (0..40).map(|number| format!("crane-{number}")).collect();
    for key in &keys {
        client.put(key, large()).await.expect(201);
        client.get(key).await.expect(200);
    }
    let ask = |keys: &[String]| {
        let body = json!({ "keys": keys });
        client
            .request(Method::POST, "/v1/cache/batch/get")
            .json(&body)
            .send()
    };
    let answers = join_all((0..8).map(|_| ask(&keys))).await;
    for answer in answers {
        assert!(is_shed(&answer) || answer.status == 413, "{}", answer.status);
    }
    assert_small(house.api());
    ask(&keys[..2]).await.expect(200);
    let body = json!({ "keys": keys });
    let deleted = client.request(Method::POST, "/v1/cache/batch/delete").json(&body);
    let deleted = deleted.send().await.expect(200).json();
    assert_eq!(deleted["results"]["crane-39"]["status"], 204, "{deleted}");
}

fn is_shed(answer: &Answer) -> bool {
    answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.header("retry-after").is_empty()
}

#[tokio::test]
async fn many_large_writes_and_patches_at_once_are_made_or_refused_and_take_little_memory() {
    let house = House::open().await;
    let client = &house.api().client;
    client.put("crane", json!({"a": 1})).await.expect(201);
    // Many small numbers: as a tree they take far more memory than as text.
    let digits = format!("{{\"b\":[{}0]}}", "0,".repeat(LARGE / 2 - 10));
    let all = stream::iter(0..400).map(|number| {
        let (patch, digits) = (number % 2 == 0, digits.clone());
        async move {
            if patch {
                let patch = client.about(Method::PATCH, "crane");
                patch.body("application/merge-patch+json", digits).send().await
            } else {
                client.put(&format!("stork-{number}"), large()).await
            }
        }
    });
    let answers: Vec<Answer> = all.buffer_unordered(200).collect().await;
    let shed = answers.iter().filter(|answer| is_shed(answer)).count();
    let made = answers.iter().filter(|answer| answer.status.is_success()).count();
    eprintln!("{made} made, {shed} refused");
    assert_eq!(made + shed, answers.len());
    assert!(made > 0);
    assert_small(house.api());
    assert_served(client, 20).await;
}

#[tokio::test]
async fn a_backlog_of_large_values_is_drained_within_little_memory() {
    let house = House::open().await;
    house.worker().stop().await;
    let client = &house.api().client;
    let written = stream::iter(0..400).map(|number| async move {
        let key = format!("swift-{number}");
        eventually("it is queued", || async {
            let answer = client.put(&key, large()).await;
            seen(answer.status, StatusCode::is_success)
        })
        .await;
    });
    written.buffer_unordered(16).collect::<Vec<()>>().await;
    house.worker().start().await;
    eventually_within(Duration::from_mins(1), "the backlog is drained", || async {
        let rows = house.table.count().await.map_err(|error| error.to_string())?;
        seen(rows, |rows| *rows == 400)
    })
    .await;
    assert_small(house.worker());
}

#[tokio::test]
async fn a_frozen_queue_makes_the_api_refuse_early_and_not_collapse() {
    let house = House::plan().workers(0).open().await;
    let client = &house.api().client;
    client.put("wren", json!(1)).await.expect(201);
    client.get("wren").await.expect(200);
    house.nats.process().freeze().await;

    let body = json!("x".repeat(50_000));
    let began = Instant::now();
    let all = stream::iter(0..4_000).map(|number| {
        let (client, body) = (client.clone(), body.clone());
        async move { client.put(&format!("dunlin-{number}"), body).await }
    });
    let (answers, ()) = tokio::join!(all.buffer_unordered(1_000).collect::<Vec<Answer>>(), async {
        // Entries in Redis are served all the while.
        for _ in 0..50 {
            client.get("wren").await.expect(200);
        }
    });
    let took = began.elapsed();
    eprintln!("{} answers in {took:?}", answers.len());
    assert!(answers.iter().all(is_shed));
    let known = answers
        .iter()
        .filter(|answer| answer.code() == "UNAVAILABLE")
        .count();
    assert!(
        known > 2_000,
        "only {known} of {} were told that nothing was written",
        answers.len()
    );
    assert_small(house.api());

    house.nats.process().thaw();
    eventually("writes are acknowledged again", || async {
        seen(client.put("wren", json!(2)).await.status, |status| *status == 201)
    })
    .await;
}

/// Sends the bytes over a connection of its own and reads until the server closes it.
async fn told(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say; one that stays open never ends.
    let _ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_probes_are_answered_all_the_same() {
    let house = House::plan()
        .workers(0)
        .config(|c| c.api.max_connections = 50)
        .open()
        .await;
    let address = house.api().address();
    let slow = SlowClients::start(&address, (0..50).map(|_| Slowness::EndlessHead)).await;
    assert_eq!(slow.len(), 50);

    let refused = told(&address, "GET /v1/cache/wren HTTP/1.1\r\nHost: api\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    for header in ["retry-after: 1", "connection: close"] {
        assert!(refused.contains(header), "{refused}");
    }
    for probe in ["/livez", "/readyz", "/metrics"] {
        let answer = told(&address, &format!("GET {probe} HTTP/1.1\r\nHost: api\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(slow);
    eventually("there is room again", || async {
        let answer = house.api().client.put("wren", json!(1)).await;
        seen(answer.status, |status| *status == 201)
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let house = House::plan().workers(0).open().await;
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: api\r\nX-Long: {}",
        "x".repeat(64 << 10)
    );
    let refused = told(&house.api().address(), &long).await;
    assert!(
        refused.starts_with("HTTP/1.1 431") || refused.is_empty(),
        "{refused}"
    );
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_refused_and_nothing_is_written() {
    let house = House::plan()
        .workers(0)
        .config(|c| c.api.request_timeout = Period::from_millis(500))
        .open()
        .await;
    let head =
        "PUT /v1/cache/wren HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 99";
    let refused = told(&house.api().address(), &format!("{head}\r\n\r\n{{\"value\":")).await;
    assert!(refused.starts_with("HTTP/1.1 408"), "{refused}");
    assert!(refused.contains("UNAVAILABLE"), "{refused}");
    // A miss asks everybody, in the little time that a request has here.
    eventually("nothing was written", || async {
        let read = house.get("wren").await;
        assert_ne!(read.status, 200, "{read:?}");
        seen(read, |read| read.status == 404)
    })
    .await;
}
