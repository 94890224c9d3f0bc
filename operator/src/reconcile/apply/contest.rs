//! Tells when somebody else sets the replicas that the operator sets, and what to do about it.

use std::time::Instant;

use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::ResourceExt;

use crate::{
    answers::Answered,
    cluster::ClusterError,
    contests::{Claim, autoscaler_of},
    context::Context,
    reconcile::validate::{Component, NestId},
};

/// What there is to say about this Deployment now, of which the operator itself keeps at least so many pods.
pub(super) async fn contest(
    ctx: &Context,
    id: &NestId,
    component: Component,
    least: i32,
    answered: &Answered<Deployment>,
) -> Result<Option<String>, ClusterError> {
    let name = id.child(component);
    let claim = Claim::on(answered.found(), least);
    if ctx.contests.is_new(id, &name, claim.as_ref())
        && let Some(claim) = claim
    {
        // Asked for only now: an autoscaler that changes nothing is in nobody's way.
        let autoscalers = ctx
            .cluster
            .list::<HorizontalPodAutoscaler>(id.namespace(), "")
            .await?;
        let autoscaler = autoscaler_of(&name, &autoscalers).map(ResourceExt::name_any);
        let told = told(component, &name, &claim, autoscaler.as_deref());
        ctx.contests.tell(id, &name, told, Instant::now());
    }
    Ok(ctx.contests.told(id, &name, Instant::now()))
}

fn told(component: Component, deployment: &str, claim: &Claim, autoscaler: Option<&str>) -> String {
    let is_api = component == Component::Api;
    let advice = match (autoscaler, is_api) {
        (Some(_), true) => "delete it, and set spec.api.autoscaling to have one",
        (Some(_), false) => {
            "delete it: workers follow the queue, between spec.worker.autoscaling.min and max"
        }
        (None, true) => "set spec.api.replicas or spec.api.autoscaling instead",
        (None, false) => {
            "set spec.worker.autoscaling.min and max instead, between which workers follow the queue; spec.paused leaves them to you"
        }
    };
    let author = match autoscaler {
        Some(autoscaler) => format!("the HorizontalPodAutoscaler {autoscaler}"),
        None => claim.author(),
    };
    format!(
        "{author} set the replicas of the Deployment {deployment} to {}, which the operator sets back each time: {advice}",
        claim.replicas
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_names_who_it_was_and_what_to_do() {
        let entry =
            json!({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let deployment = json!({"metadata": {"managedFields": [entry]}, "spec": {"replicas": 0, "selector": {}, "template": {}}});
        let claim = Claim::on(&serde_json::from_value(deployment).unwrap(), 1).unwrap();
        let of = |component, autoscaler| told(component, "prices-x", &claim, autoscaler);
        let by_hand = of(Component::Worker, None);
        assert!(
            by_hand.starts_with(
                "kubectl (field manager kubectl) set the replicas of the Deployment prices-x to 0"
            ),
            "{by_hand}"
        );
        assert!(by_hand.contains("spec.worker.autoscaling.min"), "{by_hand}");
        assert!(of(Component::Api, None).contains("spec.api.replicas"));
        let scaled = of(Component::Worker, Some("keda-hpa-prices"));
        assert!(
            scaled.starts_with("the HorizontalPodAutoscaler keda-hpa-prices") && scaled.contains("delete it"),
            "{scaled}"
        );
        assert!(of(Component::Api, Some("mine")).contains("spec.api.autoscaling"));
    }
}
