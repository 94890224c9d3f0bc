//! TLS and API keys, both from files that change while the API serves.

use std::{fs, net::SocketAddr};

use birbnest_e2e::{
    certificate::Certificate,
    client::{Answer, ApiClient},
    house::House,
    wait::{eventually, seen},
};
use reqwest::{Method, Version};
use serde_json::json;

const KEY: &str = "0123456789abcdef";
const ANOTHER: &str = "fedcba9876543210";

#[tokio::test]
async fn what_is_served_with_tls_goes_on_with_a_renewed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    Certificate::of("localhost").write(folder.path());
    let path = folder.path().to_owned();
    let house = House::plan().config(|c| c.api.tls = Some(path)).open().await;
    house.put("robin", json!(1)).await.expect(201);
    let read = house.get("robin").await.expect(200);
    assert_eq!((read.value(), read.http), (json!(1), Version::HTTP_2));
    let address: SocketAddr = house
        .api()
        .address()
        .replace("localhost", "127.0.0.1")
        .parse()
        .unwrap();
    let plain = ApiClient::new(&format!("http://{address}"));
    plain.about(Method::GET, "robin").try_send().await.unwrap_err();

    let renewed = Certificate::of("localhost");
    renewed.write(folder.path());
    let certificate = renewed.certificate;
    let renewed = ApiClient::trusting(&certificate, "localhost", address);
    eventually("new connections see the new certificate", || async {
        let read = renewed.about(Method::GET, "robin").try_send().await;
        seen(read.map_err(|error| format!("{error:?}"))?, |read| {
            read.status == 200
        })
    })
    .await;
    // Who came with the old one is still connected.
    house.get("robin").await.expect(200);

    // What cannot be used is not.
    fs::write(folder.path().join("tls.key"), "no key").unwrap();
    eventually("the log says so", || async {
        seen(house.api().process().log(), |log| {
            log.contains("tls.key is not PEM")
        })
    })
    .await;
    let another = ApiClient::trusting(&certificate, "localhost", address);
    another.get("robin").await.expect(200);
}

#[tokio::test]
async fn only_clients_with_a_key_are_let_in_and_keys_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let give = |client: &str, key: &str| fs::write(folder.path().join(client), key).unwrap();
    give("shop", KEY);
    give("careless", "short");
    let path = folder.path().to_owned();
    let house = House::plan().config(|c| c.api.api_keys = Some(path)).open().await;
    let client = &house.api().client;
    let ask = async |key: &str| {
        client
            .about(Method::GET, "robin")
            .header("x-api-key", key)
            .send()
            .await
    };
    let write = client.about(Method::PUT, "robin").json(&json!({"value": 1}));
    write
        .header("authorization", &format!("Bearer {KEY}"))
        .send()
        .await
        .expect(201);
    ask(KEY).await.expect(200);

    for refused in [house.get("robin").await, ask(ANOTHER).await, ask("short").await] {
        assert_eq!(refused.expect(401).code(), "UNAUTHORIZED");
    }
    let told = house.put("robin", json!(2)).await.expect(401);
    assert_eq!(told.header("www-authenticate"), "Bearer");
    assert_eq!(ask(KEY).await.value(), json!(1), "nothing was written");
    // Whoever watches over it needs none.
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        client.request(Method::GET, path).send().await.expect(200);
    }

    give("billing", ANOTHER);
    let is = |status: u16| move |answer: &Answer| answer.status.as_u16() == status;
    eventually("a new client's key is known", || async {
        seen(ask(ANOTHER).await, is(200))
    })
    .await;
    fs::remove_file(folder.path().join("shop")).unwrap();
    eventually("a key that was taken away is not", || async {
        seen(ask(KEY).await, is(401))
    })
    .await;
    ask(ANOTHER).await.expect(200);
}
