//! Dead letters by the API: seen, replayed, discarded. Nothing newer is ever overwritten by one.

use birbnest_e2e::{
    client::Answer,
    house::House,
    load::fill,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/admin/dead-letters";

/// From now on PostgreSQL rejects the value `"bad"`.
async fn reject(house: &House) {
    let sql =
        "ALTER TABLE birbnest.cache_entries ADD CONSTRAINT story CHECK (value::text <> '\"bad\"') NOT VALID";
    house.postgres.run(sql).await;
}

async fn accept(house: &House) {
    let sql = "ALTER TABLE birbnest.cache_entries DROP CONSTRAINT story";
    house.postgres.run(sql).await;
}

async fn ask(house: &House, method: Method, path: &str) -> Answer {
    let path = format!("{PATH}{path}");
    house.api().client.request(method, &path).send().await
}

async fn replay(house: &House, id: &Value) -> Answer {
    ask(house, Method::POST, &format!("/{id}/replay")).await
}

async fn letters(house: &House, query: &str) -> Vec<Value> {
    let answer = ask(house, Method::GET, query).await.expect(200);
    answer.member("dead_letters").as_array().unwrap().clone()
}

async fn until_letters(house: &House, count: usize) -> Vec<Value> {
    eventually(&format!("there are {count} dead letters"), || async {
        seen(letters(house, "").await, |letters| letters.len() == count)
    })
    .await
}

/// Writes what is rejected, and returns its answer and the id of its letter, the last of `count`.
async fn dead(house: &House, key: &str, count: usize) -> (Answer, Value) {
    let written = house.put(key, json!("bad")).await.expect(201);
    let letters = until_letters(house, count).await;
    (written, letters.last().unwrap()["id"].clone())
}

#[tokio::test]
async fn a_rejected_write_is_seen_and_replayed_once_its_cause_is_gone() {
    let house = House::open().await;
    house.put("robin", json!("good")).await.expect(201);
    house.until_row("robin", |_| true).await;
    house.api().client.until_hit("robin").await;
    reject(&house).await;
    let (written, id) = dead(&house, "robin", 1).await;
    let ledger = fill(&house.api().client, 0..200, 16).await;
    house.until_kept(&ledger).await;
    // The stream does not hold it back: everything is purged, the marks move on.
    house.until_purged().await;

    let letter = letters(&house, "").await.remove(0);
    assert_eq!(
        (&letter["key"], &letter["instance"]),
        (&json!("robin"), &json!("global"))
    );
    assert_eq!(
        (&letter["version"], &letter["attempts"]),
        (&json!(written.version()), &json!(3))
    );
    assert_eq!(letter["sqlstate"], json!("23514"));
    assert!(letter["reason"].as_str().unwrap().contains("story"), "{letter}");
    assert_eq!(letter.get("write"), None, "lists have no values");
    let whole = ask(&house, Method::GET, &format!("/{id}")).await.expect(200);
    assert_eq!(whole.member("write")["value"], json!("bad"));

    // Redis serves it until it is evicted, then the last good version is there.
    assert_eq!(house.get("robin").await.expect(200).value(), json!("bad"));
    house.redis.flush().await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!("good"));

    accept(&house).await;
    let replayed = replay(&house, &id).await.expect(201);
    assert_eq!(replayed.value(), json!("bad"));
    assert!(replayed.version() > written.version());
    assert_eq!(house.get("robin").await.expect(200).version(), replayed.version());
    house.until_row("robin", |row| row.json() == "bad").await;
    assert_eq!(letters(&house, "").await, Vec::<Value>::new());
    replay(&house, &id).await.expect(404);
    ask(&house, Method::GET, &format!("/{id}")).await.expect(404);
}

#[tokio::test]
async fn a_replay_never_overwrites_what_is_newer() {
    let house = House::open().await;
    for key in ["overwritten", "deleted", "control"] {
        house.put(key, json!("good")).await.expect(201);
        house.until_row(key, |_| true).await;
    }
    reject(&house).await;
    let (_, overwritten) = dead(&house, "overwritten", 1).await;
    let (_, deleted) = dead(&house, "deleted", 2).await;
    let (_, older) = dead(&house, "twice", 3).await;
    let (_, newer) = dead(&house, "twice", 4).await;
    accept(&house).await;

    let last = house.put("overwritten", json!("newer")).await.expect(201);
    house.delete("deleted").await.expect(204);
    house.delete("control").await.expect(204);
    let refused = async |id: &Value| {
        let answer = replay(&house, id).await.expect(409);
        assert_eq!(answer.code(), "VERSION_MISMATCH");
        answer.member("detail").as_str().unwrap().to_owned()
    };
    let detail = refused(&overwritten).await;
    assert!(detail.contains(&last.version().to_string()), "{detail}");
    refused(&deleted).await;
    assert!(refused(&older).await.contains("dead letter, too"));
    // Still so when the writes have left the stream, and tombstones are swept: but not one that a replay must find.
    house.until_purged().await;
    until_swept(&house, "control").await;
    refused(&overwritten).await;
    refused(&deleted).await;
    house.get("deleted").await.expect(404);
    assert_eq!(house.get("overwritten").await.expect(200).value(), json!("newer"));

    replay(&house, &newer).await.expect(201);
    refused(&older).await;
    for id in [overwritten, deleted, older] {
        let letter = format!("/{id}");
        ask(&house, Method::DELETE, &letter).await.expect(204);
        ask(&house, Method::DELETE, &letter).await.expect(404);
    }
    assert_eq!(letters(&house, "").await, Vec::<Value>::new());
    until_swept(&house, "deleted").await;
}

async fn until_swept(house: &House, key: &str) {
    eventually(&format!("the tombstone of {key} is swept"), || async {
        seen(house.table.row(key).await.unwrap(), Option::is_none)
    })
    .await;
}

#[tokio::test]
async fn a_replay_whose_letter_was_left_behind_writes_once() {
    let house = House::open().await;
    reject(&house).await;
    let (_, id) = dead(&house, "robin", 1).await;
    let jetstream = house.nats.jetstream().await;
    let name = format!("{}_dead", house.config.stream.prefix);
    let stream = jetstream.get_stream(name).await.unwrap();
    let copy = stream.get_raw_message(id.as_u64().unwrap()).await.unwrap();
    accept(&house).await;
    let first = replay(&house, &id).await.expect(201);

    // As if the API had died between the write and the removal.
    let mut headers = copy.headers;
    headers.insert("Nats-Msg-Id", "another");
    let sent = jetstream.publish_with_headers(copy.subject, headers, copy.payload);
    let left = json!(sent.await.unwrap().await.unwrap().sequence);
    let again = replay(&house, &left).await.expect(200);
    assert_eq!(again.version(), first.version());
    assert_eq!(letters(&house, "").await, Vec::<Value>::new());
    let version = first.version();
    house
        .until_row("robin", |row| row.version.cast_unsigned() == version)
        .await;
}

#[tokio::test]
async fn dead_letters_come_in_pages() {
    let house = House::open().await;
    reject(&house).await;
    for key in ["a", "b", "c"] {
        house.put(key, json!("bad")).await.expect(201);
    }
    let all = until_letters(&house, 3).await;
    let first = ask(&house, Method::GET, "?limit=2").await.expect(200);
    assert_eq!(first.member("waiting"), json!(3));
    assert_eq!(first.member("dead_letters"), json!(all[..2]));
    let rest = letters(&house, &format!("?limit=2&after={}", first.member("next"))).await;
    assert_eq!(rest, all[2..]);
    for query in ["?limit=0", "?limit=101", "?after=x", "/x"] {
        let refused = ask(&house, Method::GET, query).await.expect(400);
        assert_eq!(refused.code(), "INVALID_REQUEST");
    }
    ask(&house, Method::GET, "/99").await.expect(404);
}
