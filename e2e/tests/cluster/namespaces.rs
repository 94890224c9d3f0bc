//! An operator that is limited to namespaces has rights in them, and no others.

use std::env;

use birbnest_e2e::cluster::{Space, story, tidied};
use k8s_openapi::api::authorization::v1::ResourceAttributes;

const RELEASE: &str = "limited";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/birbnest-operator");

#[tokio::test]
async fn an_operator_that_is_limited_to_namespaces_needs_no_right_elsewhere() {
    story("namespaces", async |space| {
        tidied(space, install_and_look, async {
            space.helm(&["uninstall", RELEASE]);
        })
        .await;
    })
    .await;
}

/// It is ready when it has listed what it watches, which it could not without the rights. Its class keeps it away from the
/// nests of the other stories.
async fn install_and_look(space: &Space) {
    let watched = format!("watchNamespaces={{{},default}}", space.name);
    let values = values(RELEASE, &["--set", &watched]);
    install(space, RELEASE, &values);

    for (verb, group, resource) in [("patch", "apps", "deployments"), ("get", "", "secrets")] {
        assert!(
            may(space, &space.name, verb, group, resource).await,
            "{verb} {resource}"
        );
        assert!(
            may(space, "default", verb, group, resource).await,
            "{verb} {resource} in default"
        );
        assert!(
            !may(space, "kube-system", verb, group, resource).await,
            "{verb} {resource} elsewhere"
        );
    }
}

/// Installs an operator, or changes it, and waits until it is ready.
pub(crate) fn install(space: &Space, release: &str, values: &[String]) {
    let mut arguments = vec![
        "upgrade",
        "--install",
        release,
        CHART,
        "--wait",
        "--timeout",
        "2m",
    ];
    arguments.extend(values.iter().map(String::as_str));
    space.helm(&arguments);
}

/// The values of an operator that runs what is tested, for the nests of a class.
pub(crate) fn values(class: &str, more: &[&str]) -> Vec<String> {
    let image = env::var("BIRBNEST_IMAGE").unwrap();
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let mut values = vec!["--set".to_owned(), format!("class={class}")];
    for (name, value) in [("repository", repository), ("tag", tag)] {
        values.extend(["--set-string".to_owned(), format!("image.{name}={value}")]);
    }
    values.extend(more.iter().map(ToString::to_string));
    values
}

async fn may(space: &Space, namespace: &str, verb: &str, group: &str, resource: &str) -> bool {
    let right = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        ..ResourceAttributes::default()
    };
    space.may(RELEASE, right).await
}
