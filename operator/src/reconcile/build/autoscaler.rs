//! The `HorizontalPodAutoscaler` of the API.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};

use super::metadata;
use crate::reconcile::validate::{ApiReplicas, Component, ValidNest};

/// None when the spec says a number.
pub(super) fn api(nest: &ValidNest) -> Option<HorizontalPodAutoscaler> {
    let ApiReplicas::Autoscaled {
        min,
        max,
        target_cpu_percent,
    } = nest.api_replicas
    else {
        return None;
    };
    Some(HorizontalPodAutoscaler {
        metadata: metadata::of(&nest.id, Component::Api),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: nest.id.child(Component::Api),
            },
            min_replicas: Some(min),
            max_replicas: max,
            metrics: Some(vec![cpu(target_cpu_percent)]),
            behavior: None,
        }),
        status: None,
    })
}

fn cpu(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
