//! An operator that is limited to namespaces has rights in them, and no others.

use std::{env, path::Path, process::Command};

use birbnest_e2e::cluster::{Space, story, tidied};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, api::PostParams};

const RELEASE: &str = "limited";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/birbnest-operator");

#[tokio::test]
async fn an_operator_that_is_limited_to_namespaces_needs_no_right_elsewhere() {
    story("namespaces", async |space| {
        tidied(space, install_and_look, async {
            helm(space, &["uninstall", RELEASE]);
        })
        .await;
    })
    .await;
}

/// It is ready when it has listed what it watches, which it could not without the rights. Its class keeps it away from the
/// nests of the other stories.
async fn install_and_look(space: &Space) {
    let image = env::var("BIRBNEST_IMAGE").unwrap();
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let namespaces = format!("watchNamespaces={{{},default}}", space.name);
    let (repository, tag) = (
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    );
    let class = format!("class={RELEASE}");
    let values = [
        "--set",
        &namespaces,
        "--set",
        &class,
        "--set-string",
        &repository,
        "--set-string",
        &tag,
    ];
    let install = ["install", RELEASE, CHART, "--wait", "--timeout", "2m"];
    helm(space, &[&install[..], &values[..]].concat());

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

async fn may(space: &Space, namespace: &str, verb: &str, group: &str, resource: &str) -> bool {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{}:{RELEASE}", space.name)),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(space.client.clone());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    review.status.is_some_and(|status| status.allowed)
}

fn helm(space: &Space, arguments: &[&str]) {
    assert!(Path::new(CHART).exists(), "{CHART}");
    let ran = Command::new("helm")
        .args(arguments)
        .args(["--namespace", &space.name])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "helm {arguments:?}: {told}");
}
