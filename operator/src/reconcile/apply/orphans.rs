//! Children that an earlier plan had and this one does not.

use std::collections::BTreeSet;

use birbnest_crds::BirbNest;
use kube::ResourceExt;

use crate::{
    children::{ChildName, orphans},
    cluster::ClusterError,
    context::Context,
    reconcile::build::Plan,
};

/// An autoscaler that is no longer wanted would go on fighting about the number of pods, a policy would keep somebody out, an
/// Ingress or a route let somebody in.
/// And a migration that has completed must not count when the spec goes back to what it was: the one in between may have
/// stopped anywhere.
const AT_ONCE: [&str; 5] = [
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "Ingress",
    "HTTPRoute",
    "Job",
];

/// Everything in the plan, by kind and name.
pub(super) fn planned(plan: &Plan) -> BTreeSet<ChildName> {
    let mut names = BTreeSet::from([
        ChildName::of(&plan.config.config_map),
        ChildName::of(&plan.migration.job),
        ChildName::of(&plan.workloads.api),
        ChildName::of(&plan.workloads.worker),
    ]);
    names.extend(plan.managed.service_accounts.iter().map(ChildName::of));
    names.extend(plan.managed.services.iter().map(ChildName::of));
    names.extend(plan.managed.stateful_sets.iter().map(ChildName::of));
    names.extend(plan.config.service_accounts.iter().map(ChildName::of));
    names.extend(plan.config.network_policies.iter().map(ChildName::of));
    names.extend(plan.workloads.services.iter().map(ChildName::of));
    names.extend(plan.workloads.autoscaler.iter().map(ChildName::of));
    names.extend(plan.workloads.ingress.iter().map(ChildName::of));
    names.extend(plan.workloads.route.iter().map(ChildName::of_foreign));
    names.extend(plan.workloads.monitoring.iter().map(ChildName::of_foreign));
    names.extend(plan.workloads.disruption_budgets.iter().map(ChildName::of));
    names
}

/// Deletes them once nothing of the older plan runs: until then its pods need them.
pub(super) async fn remove(
    ctx: &Context,
    nest: &BirbNest,
    planned: &BTreeSet<ChildName>,
    rolled_out: bool,
) -> Result<(), ClusterError> {
    let (namespace, uid) = (
        nest.namespace().unwrap_or_default(),
        nest.uid().unwrap_or_default(),
    );
    for orphan in orphans(ctx.children.of(&namespace, &uid), planned) {
        if rolled_out || AT_ONCE.contains(&orphan.resource.kind.as_str()) {
            tracing::info!(
                namespace,
                kind = orphan.resource.kind,
                name = orphan.name,
                "an orphan is deleted"
            );
            ctx.cluster
                .delete(&orphan.resource, &namespace, &orphan.name, orphan.uid.as_deref())
                .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{build::build, fixtures};

    #[test]
    fn a_plan_names_all_its_children() {
        let plan = build(&fixtures::valid(&fixtures::managed())).unwrap();
        let names = planned(&plan);
        let has = |kind: &str, name: &str| {
            names.contains(&ChildName {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
        };
        assert!(has("StatefulSet", "prices-postgres") && has("Deployment", "prices-worker"));
        assert!(has("ConfigMap", "prices-config") && has("Service", "prices-api"));
        assert!(
            !names.iter().any(|child| child.kind == "Secret"),
            "passwords outlive a plan"
        );
    }
}
