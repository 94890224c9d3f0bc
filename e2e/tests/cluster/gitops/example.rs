//! The example for Kustomize is taken by the API server as it stands.

use birbnest_e2e::cluster::{Space, story};
use serde_json::{Value, json};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/kustomize");

#[tokio::test]
async fn the_example_for_kustomize_is_accepted_and_its_overlay_changes_what_it_says() {
    story("kustomize", async |space| {
        let base = accepted(space, &build(space, "base")[0]);
        assert_eq!(base["spec"]["worker"]["batch"]["size"], 500, "the default");

        let objects = build(space, "production");
        let [namespace, nest] = objects.as_slice() else {
            panic!("{objects:?}");
        };
        assert_eq!(nest["metadata"]["namespace"], namespace["metadata"]["name"]);
        accepted(space, namespace);
        let spec = &accepted(space, nest)["spec"];
        assert_eq!(spec["worker"]["batch"]["size"], 1000);
        assert_eq!(spec["worker"]["autoscaling"]["min"], 2);
        assert_eq!(
            spec["api"]["autoscaling"],
            json!({ "min": 3, "max": 12, "targetCpuPercent": 60 })
        );
        for store in ["redis", "postgres"] {
            assert_eq!(
                spec[store], base["spec"][store],
                "what is not patched is that of the base"
            );
        }
    })
    .await;
}

fn build(space: &Space, folder: &str) -> Vec<Value> {
    let built = space.try_tool("kubectl", &["kustomize", &format!("{EXAMPLE}/{folder}")], "");
    assert!(built.success, "{built:?}");
    let documents = built.told.split("\n---\n");
    documents
        .map(|document| serde_yaml::from_str(document).unwrap())
        .collect()
}

/// What the API server would store, with its defaults. A dry run makes no namespace: that of the story stands for it.
fn accepted(space: &Space, object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"] == "BirbNest" {
        object["metadata"]["namespace"] = json!(space.name);
    }
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
    ];
    serde_json::from_str(&space.kubectl(&apply, &object.to_string())).unwrap()
}
