//! What Git says and what the cluster has stay the same, in spite of defaults, of the status and of scaling.

use birbnest_e2e::cluster::{Space, story};
use serde_json::{Value, json};

use crate::external;

/// What Argo CD and Flux put on the objects that they apply, by which they find them again.
const TRACKING: [&str; 4] = [
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/tracking-id",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
];
const KINDS: &str = "deployments,services,serviceaccounts,configmaps,jobs,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies";

#[tokio::test]
async fn a_nest_from_git_does_not_drift_and_its_children_are_nobody_elses() {
    story("drift", async |space| {
        let _backends = space.backends().await;
        let manifest = manifest().to_string();
        let server_side = ["--server-side", "--field-manager=argocd-controller"];
        let client_side = ["--field-manager=kubectl-client-side-apply"];
        apply(space, &manifest, &server_side);
        space.nest("tracked").until_ready().await;
        assert_same_again(space, &manifest, &server_side);
        // The first time it notes what was applied, in an annotation.
        apply(space, &manifest, &client_side);
        assert_same_again(space, &manifest, &client_side);
        assert_same_again(
            space,
            &manifest,
            &[
                "--server-side",
                "--field-manager=kustomize-controller",
                "--force-conflicts",
            ],
        );
        assert_eq!(
            object(space)["metadata"]["generation"],
            1,
            "the spec is what it was from the beginning"
        );
        assert_children_are_owned(space);
    })
    .await;
}

/// With an autoscaled API and workers that are scaled; quantities and times as people write them.
fn manifest() -> Value {
    let spec = external(&json!({
        "cache": { "defaultTtl": "90m" },
        "api": {
            "autoscaling": { "min": 2, "max": 3 },
            "resources": { "requests": { "cpu": "0.05" }, "limits": { "memory": "524288Ki" } },
        },
        "worker": { "autoscaling": { "min": 1, "max": 2 } },
        "deletionPolicy": "Delete",
    }));
    json!({
        "apiVersion": "birbnest.dev/v1alpha1",
        "kind": "BirbNest",
        "metadata": {
            "name": "tracked",
            "labels": {
                "app.kubernetes.io/instance": "shop",
                "kustomize.toolkit.fluxcd.io/name": "shop",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
            "annotations": { "argocd.argoproj.io/tracking-id": "shop:birbnest.dev/BirbNest:here/tracked" },
        },
        "spec": spec,
    })
}

fn apply(space: &Space, manifest: &str, how: &[&str]) {
    space.kubectl(&[&["apply", "-f", "-"], how].concat(), manifest);
}

/// `kubectl diff` ends with 1 when there is a difference.
fn assert_same_again(space: &Space, manifest: &str, how: &[&str]) {
    if how[0] == "--server-side" {
        // Who applies for the first time becomes a manager of the fields: that is no difference of the object.
        apply(space, manifest, how);
    }
    let before = object(space);
    let diff = space.try_tool("kubectl", &[&["diff", "-f", "-"], how].concat(), manifest);
    assert!(diff.success, "{how:?}: {diff:?}");
    apply(space, manifest, how);
    assert_eq!(object(space), before, "{how:?}");
}

/// The nest without what the operator writes: a write of anything else changes what is left.
fn object(space: &Space) -> Value {
    let read = [
        "get",
        "birbnests.birbnest.dev/tracked",
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let mut object: Value = serde_json::from_str(&space.kubectl(&read, "")).unwrap();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    let managers = metadata["managedFields"].as_array_mut().unwrap();
    managers.retain(|manager| manager["subresource"] != "status");
    object
}

/// So they are shown below the nest, go with it, and are pruned by nobody.
fn assert_children_are_owned(space: &Space) {
    let nest = object(space);
    let listed = space.kubectl(
        &[
            "get",
            KINDS,
            "-l",
            "app.kubernetes.io/instance=tracked",
            "-o",
            "json",
        ],
        "",
    );
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let children = listed["items"].as_array().unwrap();
    let mut kinds: Vec<_> = children
        .iter()
        .map(|child| child["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), KINDS.split(',').count(), "{kinds:?}");
    for child in children {
        let metadata = &child["metadata"];
        let owner = &metadata["ownerReferences"][0];
        assert!(
            owner["uid"] == nest["metadata"]["uid"] && owner["controller"] == true,
            "{metadata}"
        );
        for (label, value) in [
            ("managed-by", "birbnest-operator"),
            ("name", "birbnest"),
            ("part-of", "birbnest"),
        ] {
            assert_eq!(
                metadata["labels"][format!("app.kubernetes.io/{label}")],
                value,
                "{metadata}"
            );
        }
        for name in TRACKING {
            let copied = [&metadata["labels"][name], &metadata["annotations"][name]];
            assert!(
                copied.iter().all(|value| value.is_null() || **value == "tracked"),
                "{name}: {metadata}"
            );
        }
    }
}
