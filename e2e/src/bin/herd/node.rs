//! A node that only says that its pods run.

use std::{path::Path, process::Stdio};

use birbnest_e2e::cluster::Space;
use k8s_openapi::api::core::v1 as core;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const NAME: &str = "herd";
const MARK: &str = "kwok.x-k8s.io/node";

/// The node, and kwok, which speaks for it.
pub(crate) struct Node {
    space: Space,
    _kwok: Child,
}

impl Node {
    /// Makes it, and starts the program.
    ///
    /// # Panics
    /// When the cluster or the program refuses.
    pub(crate) async fn start(space: &Space, kwok: &Path) -> Self {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": NAME,
                "annotations": { MARK: "fake" },
                "labels": { "kubernetes.io/hostname": NAME, "type": "kwok" },
            },
            "spec": { "taints": [{ "key": MARK, "value": "fake", "effect": "NoSchedule" }] },
        });
        let params = PatchParams::apply("herd").force();
        let applied = space
            .all::<core::Node>()
            .patch(NAME, &params, &Patch::Apply(&node))
            .await;
        applied.unwrap_or_else(|error| panic!("{NAME}: {error}"));
        let selector = format!("--manage-nodes-with-annotation-selector={MARK}=fake");
        let stages = kwok.with_file_name("stages.yaml");
        let kwok = Command::new(kwok)
            .args([
                "--manage-all-nodes=false",
                &selector,
                "--node-lease-duration-seconds=40",
            ])
            .arg("--config")
            .arg(stages)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", kwok.display()));
        Self {
            space: space.clone(),
            _kwok: kwok,
        }
    }

    /// What the pods of a BirbNest need to run there.
    pub(crate) fn pods_there() -> Value {
        json!({
            "nodeSelector": { "type": "kwok" },
            "tolerations": [{ "key": MARK, "operator": "Exists", "effect": "NoSchedule" }],
        })
    }

    /// Takes it away.
    pub(crate) async fn remove(self) {
        // What is left of it does no harm.
        let _ = self
            .space
            .all::<core::Node>()
            .delete(NAME, &DeleteParams::default())
            .await;
    }
}
