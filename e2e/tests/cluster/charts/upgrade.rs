//! The operator is upgraded by its chart, while clients write and read.

use std::{collections::BTreeSet, env, time::Duration};

use birbnest_crds::BirbNest;
use birbnest_e2e::{
    cluster::{Nest, Operator, Space, story, tidied},
    wait::{eventually_within, seen},
};
use serde_json::json;

use crate::{
    changes::doubled,
    namespaces::{install, values},
    rollout::{assert_all_kept, uids, under_load, until_replaced},
};

const RELEASE: &str = "upgraded";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_of_the_operator_rolls_what_it_has_to_and_fails_no_request() {
    story("operator-upgrade", async |space| {
        let uninstall = async {
            space.helm(&["uninstall", RELEASE]);
        };
        tidied(space, upgrade, uninstall).await;
    })
    .await;
}

async fn upgrade(space: &Space) {
    let backends = space.backends().await;
    let watched = format!("watchNamespaces={{{}}}", space.name);
    let own = |more: &[&str]| values(&space.name, &[&["--set", &watched], more].concat());
    install(space, RELEASE, &own(&[]));
    let nest = space.nest("served");
    let manifest = json!({
        "apiVersion": "birbnest.dev/v1alpha1",
        "kind": "BirbNest",
        "metadata": { "name": nest.name, "labels": { "birbnest.dev/class": space.name } },
        "spec": doubled(),
    });
    space.apply::<BirbNest>(&manifest).await;
    nest.until_ready().await;
    let (pods, specs) = (data_plane(&nest).await, specs(&nest).await);
    let load = under_load(&nest).await;

    // Nothing but the operator changes: neither does a pod, nor the spec of anything else.
    let before = Operator::own(space)
        .await
        .unwrap()
        .into_iter()
        .map(|operator| operator.name);
    let before = before.collect();
    install(
        space,
        RELEASE,
        &own(&["--set", "log.level=debug,podAnnotations.step=two,replicas=2"]),
    );
    until_another_leads(space, &before).await;
    load.until_more(200).await;
    assert_eq!(data_plane(&nest).await, pods);
    assert_eq!(self::specs(&nest).await, specs);

    // A release with other programs: they are rolled out.
    let again = env::var("BIRBNEST_IMAGE_AGAIN").unwrap();
    let (_, tag) = again.rsplit_once(':').unwrap();
    let before = [uids(&nest, "api").await, uids(&nest, "worker").await];
    install(
        space,
        RELEASE,
        &own(&["--set-string", &format!("image.tag={tag}")]),
    );
    for (component, before) in ["api", "worker"].into_iter().zip(&before) {
        until_replaced(&nest, component, before).await;
    }
    load.until_more(200).await;
    assert_all_kept(load.stop().await, &backends).await;
}

async fn data_plane(nest: &Nest) -> [BTreeSet<String>; 2] {
    [uids(nest, "api").await, uids(nest, "worker").await]
}

/// What each child is and how often its spec was written.
async fn specs(nest: &Nest) -> Vec<(String, String, Option<i64>)> {
    let children = nest.children().await.into_iter();
    children
        .map(|(name, child)| (name, child.uid, child.generation))
        .collect()
}

/// Waits until an operator leads that was not there before, and has passed over the nest.
async fn until_another_leads(space: &Space, before: &BTreeSet<String>) {
    eventually_within(
        Duration::from_mins(1),
        "an operator of the upgrade leads",
        || async {
            let mut new = Operator::own(space).await?;
            new.retain(|operator| operator.leads() && !before.contains(&operator.name));
            let done = |operator: &Operator| {
                operator.sum("birbnest_operator_reconciles_total{outcome=\"ok\"}") > 0.5
            };
            seen(new, |new| new.iter().any(done)).map(drop)
        },
    )
    .await;
}
