use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Compute resources of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourcesSpec {
    /// What the scheduler sets aside, such as `cpu: 250m` and `memory: 128Mi`. Requests and limits both left out: the
    /// operator's defaults.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may not exceed, such as `memory: 512Mi`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

impl ResourcesSpec {
    /// The container's field, or nothing when nothing was asked for.
    pub fn requirements(&self) -> Option<ResourceRequirements> {
        let some = |quantities: &BTreeMap<_, _>| (!quantities.is_empty()).then(|| quantities.clone());
        let (requests, limits) = (some(&self.requests), some(&self.limits));
        if requests.is_none() && limits.is_none() {
            return None;
        }
        Some(ResourceRequirements {
            requests,
            limits,
            claims: None,
        })
    }
}
