//! The chart with the definition. Every cluster has only one, which the other stories use: this one is about a copy with
//! another group and other names.

use std::{fs, path::PathBuf};

use birbnest_e2e::{
    cluster::{Backends, Space, story, tidied},
    servers::fresh_directory,
    wait::{eventually, seen},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use super::CHARTS;

const RELEASE: &str = "definition";
const FILE: &str = "templates/birbnests.birbnest.dev.yaml";

#[tokio::test]
async fn an_upgrade_reaches_the_definition_and_an_uninstall_takes_no_nest_with_it() {
    story("definition", async |space| {
        let tidy = async {
            let definitions: Api<CustomResourceDefinition> = space.all();
            let _ = definitions
                .delete(&Copied::of(space).resource(), &DeleteParams::default())
                .await;
        };
        tidied(space, live, tidy).await;
    })
    .await;
}

async fn live(space: &Space) {
    let copied = Copied::of(space);
    let (older, newer) = (
        copied.chart("older", without_network_policies),
        copied.chart("newer", |_| {}),
    );
    space.helm(&["install", RELEASE, &older]);
    until(space, "the older definition is served", || {
        copied.try_apply(space, &json!({}))
    })
    .await;
    assert_eq!(copied.nest(space)["spec"]["networkPolicies"], Value::Null);
    let refused = copied.try_apply(space, &closed()).unwrap_err();
    assert!(refused.contains("networkPolicies"), "{refused}");
    let uid = copied.nest(space)["metadata"]["uid"].clone();

    space.helm(&["upgrade", RELEASE, &newer]);
    until(space, "the new field is there", || {
        copied.try_apply(space, &closed())
    })
    .await;
    assert_eq!(copied.nest(space)["spec"]["networkPolicies"]["enabled"], false);
    // kstatus would take a nest without a status for one that is as it should be.
    assert_eq!(copied.nest(space)["status"]["observedGeneration"], -1);

    space.helm(&["rollback", RELEASE, "1"]);
    until(space, "the older definition is back", || {
        seen(
            copied.nest(space)["spec"]["networkPolicies"].clone(),
            Value::is_null,
        )
    })
    .await;
    space.helm(&["rollback", RELEASE, "2"]);
    until(space, "the value was only hidden", || {
        seen(
            copied.nest(space)["spec"]["networkPolicies"]["enabled"].clone(),
            |enabled| *enabled == false,
        )
    })
    .await;

    space.helm(&["uninstall", RELEASE]);
    assert_eq!(
        copied.nest(space)["metadata"]["uid"],
        uid,
        "it is the nest of the beginning"
    );
    // Whoever installs it again finds what is there.
    space.helm(&["install", RELEASE, &newer]);
    assert_eq!(copied.nest(space)["metadata"]["uid"], uid);
}

async fn until<T>(space: &Space, what: &str, attempt: impl Fn() -> Result<T, String>) {
    eventually(&format!("{}: {what}", space.name), || async { attempt() }).await;
}

/// A field of later.
fn without_network_policies(definition: &mut Value) {
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = definition.pointer_mut(spec).unwrap().as_object_mut().unwrap();
    fields.remove("networkPolicies").unwrap();
}

fn closed() -> Value {
    json!({ "networkPolicies": { "enabled": false } })
}

/// A definition like that of BirbNests, under names that nobody else uses.
struct Copied {
    group: String,
    folder: PathBuf,
}

impl Copied {
    fn of(space: &Space) -> Self {
        Self {
            group: format!("{}.birbnest.dev", space.name),
            folder: fresh_directory("charts"),
        }
    }

    fn resource(&self) -> String {
        format!("copies.{}", self.group)
    }

    /// The chart with this definition, changed.
    fn chart(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        let (from, to) = (
            PathBuf::from(CHARTS).join("birbnest-crds"),
            self.folder.join(name),
        );
        fs::create_dir_all(to.join("templates")).unwrap();
        for file in ["Chart.yaml", "values.schema.json", "templates/NOTES.txt"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        let mut definition: Value =
            serde_yaml::from_str(&fs::read_to_string(from.join(FILE)).unwrap()).unwrap();
        definition["metadata"]["name"] = json!(self.resource());
        definition["spec"]["group"] = json!(self.group);
        definition["spec"]["names"] = json!({ "kind": "Copy", "plural": "copies", "singular": "copy" });
        change(&mut definition);
        fs::write(to.join(FILE), serde_yaml::to_string(&definition).unwrap()).unwrap();
        to.display().to_string()
    }

    fn try_apply(&self, space: &Space, more: &Value) -> Result<(), String> {
        let mut spec = Backends::spec();
        crate::merge(&mut spec, more);
        let object = json!({
            "apiVersion": format!("{}/v1alpha1", self.group),
            "kind": "Copy",
            "metadata": { "name": "old" },
            "spec": spec,
        });
        let ran = space.try_tool(
            "kubectl",
            &["apply", "--server-side", "-f", "-"],
            &object.to_string(),
        );
        if ran.success { Ok(()) } else { Err(ran.complained) }
    }

    fn nest(&self, space: &Space) -> Value {
        let read = space.kubectl(&["get", &format!("{}/old", self.resource()), "-o", "json"], "");
        serde_json::from_str(&read).unwrap()
    }
}
