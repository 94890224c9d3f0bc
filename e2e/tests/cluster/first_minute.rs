//! The first minute of a new user: the quickstart's nest, whose backends the operator runs.

use birbnest_e2e::{
    cluster::{Nest, Space, story},
    table::Table,
    wait::{eventually, seen},
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::{Value, json};

#[tokio::test]
async fn a_nest_with_managed_backends_serves_and_persists() {
    story("first-minute", async |space| {
        let spec =
            json!({ "redis": { "managed": {} }, "nats": { "managed": {} }, "postgres": { "managed": {} } });
        let nest = space.apply_nest("quickstart", &spec).await;
        nest.until_ready().await;
        let client = nest.client().await;

        let created = client.put("robin", json!({ "eggs": 3 })).await.expect(201);
        assert_eq!(
            client.get("robin").await.expect(200).value(),
            json!({ "eggs": 3 })
        );
        let row = table_of(space, &nest).await.until_row("robin", |_| true).await;
        assert_eq!(
            (row.version.cast_unsigned(), row.json()),
            (created.version(), json!({ "eggs": 3 }))
        );
        client.delete("robin").await.expect(204);
        client.get("robin").await.expect(404);

        for column in ["Ready", "API", "Workers", "Queue", "Schema", "Age"] {
            eventually(&format!("kubectl get nest shows {column}"), || async {
                let shown = columns(space).await;
                let shown = shown.get(column).cloned().unwrap_or_default();
                seen(shown, |value| !value.is_null())
            })
            .await;
        }
        assert_eq!(columns(space).await["Ready"], "True");

        backends_may_restart(space, &nest).await;
    })
    .await;
}

/// The volumes keep what was acknowledged when the pods of the backends go.
async fn backends_may_restart(space: &Space, nest: &Nest) {
    let client = nest.client().await;
    let written = client.put("wren", json!(1)).await.expect(201);
    for component in ["nats", "postgres", "redis"] {
        space.delete::<Pod>(&format!("{}-{component}-0", nest.name)).await;
    }
    nest.until_ready().await;
    eventually("the entry is read again", || async {
        seen(client.get("wren").await, |answer| {
            answer.status == 200 && answer.version() == written.version()
        })
    })
    .await;
    eventually("writes are acknowledged again", || async {
        seen(client.put("wren", json!(2)).await, |answer| answer.status == 201)
    })
    .await;
}

/// The managed PostgreSQL, by the address in the credentials and not by its name, which only pods resolve.
async fn table_of(space: &Space, nest: &Nest) -> Table {
    let secret = space
        .api::<Secret>()
        .get(&format!("{}-credentials", nest.name))
        .await
        .unwrap();
    let url = secret.data.unwrap()["postgres-url"].clone();
    let mut url = reqwest::Url::parse(std::str::from_utf8(&url.0).unwrap()).unwrap();
    let pod = space
        .api::<Pod>()
        .get(&format!("{}-postgres-0", nest.name))
        .await
        .unwrap();
    url.set_host(pod.status.unwrap().pod_ip.as_deref()).unwrap();
    Table::new(url.as_str(), "birbnest")
}

/// What `kubectl get nest` shows of the only nest, by column.
async fn columns(space: &Space) -> serde_json::Map<String, Value> {
    let path = format!("/apis/birbnest.dev/v1alpha1/namespaces/{}/birbnests", space.name);
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(vec![])
        .unwrap();
    let table: Value = space.client.request(request).await.unwrap();
    let names = table["columnDefinitions"].as_array().unwrap().iter();
    let names = names.map(|column| column["name"].as_str().unwrap().to_owned());
    names
        .zip(table["rows"][0]["cells"].as_array().unwrap().iter().cloned())
        .collect()
}
