//! Whatever is sent, the answer is a 4xx that says why, and nothing is stored.

use birbnest_e2e::{
    client::{Answer, ApiClient, Request},
    house::House,
};
use reqwest::Method;
use serde_json::json;

type Case = (&'static str, Request, u16);

const JSON: &str = "application/json";

fn bodies(client: &ApiClient) -> Vec<Case> {
    let send = |media_type: &str, body: Vec<u8>| client.about(Method::PUT, "k").body(media_type, body);
    let text = |body: &str| send(JSON, body.into());
    let deep = format!("{{\"value\": {}{}}}", "[".repeat(400), "]".repeat(400));
    let large = json!({ "value": "x".repeat(1_000) }).to_string();
    vec![
        ("no JSON", text("{"), 400),
        ("no object", text("[1]"), 400),
        ("no body", text(""), 400),
        ("no value", text(r#"{"ttl": 1}"#), 400),
        ("two documents", text(r#"{"value": 1} {"value": 2}"#), 400),
        ("negative ttl", text(r#"{"value": 1, "ttl": -1}"#), 400),
        ("fractional ttl", text(r#"{"value": 1, "ttl": 1.5}"#), 400),
        ("ttl as text", text(r#"{"value": 1, "ttl": "1h"}"#), 400),
        (
            "ttl without end",
            text(r#"{"value": 1, "ttl": 99999999999999999999}"#),
            400,
        ),
        (
            "metadata that is no object",
            text(r#"{"value": 1, "metadata": [1]}"#),
            400,
        ),
        ("invalid UTF-8", send(JSON, vec![b'{', 0xff, b'}']), 400),
        ("nested too deeply", text(&deep), 400),
        ("value too large", text(&large), 413),
        ("body far too large", send(JSON, vec![b' '; 4 << 20]), 413),
        (
            "unknown media type",
            send("text/plain", br#"{"value": 1}"#.into()),
            415,
        ),
        (
            "a form",
            send("application/x-www-form-urlencoded", b"value=1".into()),
            415,
        ),
    ]
}

fn keys_paths_and_methods(client: &ApiClient) -> Vec<Case> {
    let long = "k".repeat(256);
    let value = json!({ "value": 1 });
    let ask = |method: Method, path: &str| client.request(method, path);
    vec![
        ("key too long", client.about(Method::PUT, &long).json(&value), 400),
        ("key too long, reading", client.about(Method::GET, &long), 400),
        ("key too long, deleting", client.about(Method::DELETE, &long), 400),
        (
            "control character",
            client.about(Method::PUT, "a\u{1}b").json(&value),
            400,
        ),
        ("line break", client.about(Method::GET, "a\nb"), 400),
        ("key that is no UTF-8", ask(Method::GET, "/v1/cache/%ff"), 400),
        ("no key", ask(Method::GET, "/v1/cache/"), 404),
        (
            "no key, writing",
            ask(Method::PUT, "/v1/cache/").json(&value),
            404,
        ),
        ("unknown path", ask(Method::GET, "/v2/cache/k"), 404),
        (
            "unknown method",
            ask(Method::OPTIONS, "/v1/cache/k").json(&value),
            405,
        ),
    ]
}

fn assert_refused(case: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{case}: {}", answer.text);
    let (code, detail) = (answer.code(), answer.member("detail"));
    let expected = match status {
        400 => "INVALID_REQUEST",
        404 => "NOT_FOUND",
        _ => &code.to_uppercase(),
    };
    assert!(!code.is_empty() && code == expected, "{case}: {}", answer.text);
    assert!(
        detail.as_str().is_some_and(|detail| detail.len() > 5),
        "{case}: {}",
        answer.text
    );
    assert!(answer.member("error").is_string(), "{case}: {}", answer.text);
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{case}"
    );
}

#[tokio::test]
async fn bad_input_is_refused_with_a_code_and_a_detail_and_stores_nothing() {
    let house = House::plan()
        .config(|c| c.cache.max_value_bytes = 1_000)
        .open()
        .await;
    let client = &house.api().client;
    for (case, request, status) in bodies(client).into_iter().chain(keys_paths_and_methods(client)) {
        assert_refused(case, &request.send().await, status);
    }
    assert_eq!(house.queued().await.unwrap(), 0);
    house.get("k").await.expect(404);
    house.put("k", json!(1)).await.expect(201);
}

#[tokio::test]
async fn a_refused_method_is_told_which_ones_there_are() {
    let house = House::open().await;
    let answer = house
        .api()
        .client
        .about(Method::OPTIONS, "k")
        .send()
        .await
        .expect(405);
    for method in ["GET", "PUT", "POST", "DELETE"] {
        assert!(
            answer.header("allow").contains(method),
            "Allow: {}",
            answer.header("allow")
        );
    }
}
