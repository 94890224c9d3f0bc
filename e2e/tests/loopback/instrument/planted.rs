//! Bugs, planted around the product and not in it. The instrument must notice each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use birbnest_e2e::{
    client::ApiClient,
    house::House,
    instrument::{
        checker::{Kind, Verdict},
        crew::Size,
        faults::Fault,
        run::Instrument,
    },
};
use serde_json::{Value, json};

use super::SEED;

const LENGTH: Duration = Duration::from_millis(1_500);

/// One calm round through these clients.
async fn calm(house: &House, apis: Vec<ApiClient>) -> Verdict {
    let mut instrument = Instrument::new(house, Size::default(), SEED).through(apis);
    instrument.round(Fault::Calm, LENGTH).await;
    instrument.finish().await.verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_acknowledges_before_it_publishes_is_noticed() {
    let house = House::open().await;
    let address = hasty(house.api().client.base().to_owned()).await;
    let verdict = calm(&house, vec![ApiClient::new(&address)]).await;
    assert!(verdict.kinds().contains(&Kind::Lost), "{:?}", verdict.kinds());
}

/// An API before an API. Every twentieth write it acknowledges, and dies before it passes it on.
#[derive(Clone)]
struct Hasty {
    behind: String,
    http: reqwest::Client,
    writes: Arc<AtomicU64>,
    /// The highest version so far: the next one is guessed from it.
    highest: Arc<AtomicU64>,
}

async fn hasty(behind: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Hasty {
        behind,
        http: reqwest::Client::new(),
        writes: Arc::default(),
        highest: Arc::default(),
    };
    let router = axum::Router::new().fallback(pass_on).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn pass_on(State(hasty): State<Hasty>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path().to_owned();
    if parts.method == Method::PUT && hasty.writes.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
        return hasty.acknowledge(&path, &body);
    }
    let url = format!("{}{path}", hasty.behind.trim_end_matches('/'));
    let answer = hasty
        .http
        .request(parts.method, url)
        .headers(parts.headers)
        .body(body)
        .send()
        .await;
    let answer = answer.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    let version = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|entry| entry.get("version")?.as_u64());
    hasty.highest.fetch_max(version.unwrap_or(0), Ordering::Relaxed);
    (status, headers, body).into_response()
}

impl Hasty {
    fn acknowledge(&self, path: &str, body: &Bytes) -> Response {
        let key = path.rsplit('/').next().unwrap().replace("%2D", "-");
        let sent: Value = serde_json::from_slice(body).unwrap();
        let version = self.highest.load(Ordering::Relaxed) + 1;
        let entry = json!({ "key": key, "value": sent["value"], "version": version }).to_string();
        let headers = [
            ("etag", format!("\"{version}\"")),
            ("birb-durability", "queued".to_owned()),
        ];
        (StatusCode::CREATED, headers, entry).into_response()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_without_its_guard_is_noticed() {
    let house = House::open().await;
    // An older message that comes after a newer one wins, as it would without the guard.
    for sql in [
        "CREATE FUNCTION birbnest.older_wins() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
        "CREATE TRIGGER older_wins BEFORE UPDATE ON birbnest.cache_entries FOR EACH ROW \
         WHEN (NEW.version % 2 = 0) EXECUTE FUNCTION birbnest.older_wins()",
    ] {
        house.postgres.run(sql).await;
    }
    let verdict = calm(&house, house.clients()).await;
    assert!(verdict.kinds().contains(&Kind::Lost), "{:?}", verdict.kinds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_without_lease_and_version_is_noticed() {
    let house = House::open().await;
    let fills = tokio::spawn(fill_late(
        house.redis.url(),
        house.config.redis.key_prefix.clone(),
    ));
    let verdict = calm(&house, house.clients()).await;
    fills.abort();
    let kinds = verdict.kinds();
    assert!(
        kinds.contains(&Kind::Stale) && kinds.contains(&Kind::Disagreeing),
        "{kinds:?}"
    );
}

/// A reader whose fill comes late, and asks for nothing: what Redis held a moment ago is put back, header and all.
async fn fill_late(url: String, prefix: String) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    loop {
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{prefix}:*"))
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut copies = vec![];
        for key in keys {
            let copy: Option<Vec<u8>> = redis::cmd("GET")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            copies.extend(
                copy.filter(|copy| copy.first() == Some(&b'E'))
                    .map(|copy| (key, copy)),
            );
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        for (key, copy) in copies {
            redis::cmd("SET")
                .arg(key)
                .arg(copy)
                .query_async::<()>(&mut connection)
                .await
                .unwrap();
        }
    }
}
