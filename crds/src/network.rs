use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may open connections to the pods, where the cluster's network enforces NetworkPolicies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPoliciesSpec {
    /// Make NetworkPolicies: the HTTP API takes connections from clients, workers only those that ask for metrics, managed
    /// backends only those of this BirbNest and of the operator, migrations none. What the pods themselves connect to is
    /// not limited.
    pub enabled: bool,
    /// Who may use the HTTP API: pods, namespaces or address ranges. Default: everybody. Name here also whoever reaches it
    /// from outside, such as the pods of an ingress controller.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub clients: Vec<NetworkPolicyPeer>,
    /// Who may ask API and workers for metrics, such as the pods of Prometheus: they have the port of the API in common
    /// with clients. Default: everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub monitoring: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkPoliciesSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            clients: vec![],
            monitoring: vec![],
        }
    }
}
