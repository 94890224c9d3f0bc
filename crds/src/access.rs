use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiTlsSpec {
    /// Name of a Secret of type kubernetes.io/tls in the BirbNest's namespace, such as cert-manager makes. When its content
    /// changes, new connections see the new certificate within two minutes; no pod is restarted.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// Who may use the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiAuthSpec {
    /// Ask every request below /v1 for one of some keys, as `X-API-Key` or `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiKeysSpec")]
    pub api_keys: Option<ApiKeysSpec>,
}

/// Where the API keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiKeysSpec {
    /// Name of a Secret in the BirbNest's namespace, each of whose keys names a client and holds what that client sends: 16 to
    /// 256 printable ASCII characters. Default: the Secret NAME-api-keys, which the operator makes with one random key. A
    /// change counts within two minutes; no pod is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// The Service of the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServiceSpec {
    /// ClusterIP: reached from inside the cluster. NodePort or LoadBalancer: from outside, too.
    pub r#type: ServiceType,
    /// Annotations of the Service, which load balancers of clouds are told with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Address ranges, such as 10.0.0.0/8, that a load balancer lets in. Default: everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub load_balancer_source_ranges: Vec<String>,
}

/// From where a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From inside the cluster.
    #[default]
    ClusterIP,
    /// From outside, too, at a port of every node.
    NodePort,
    /// From outside, too, through a load balancer that the cloud provides.
    LoadBalancer,
}

impl ServiceType {
    /// The type as a Service's field has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// An Ingress in front of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiIngressSpec {
    /// Name under which clients outside reach it, such as prices.example.com.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Start of the paths that lead here.
    #[serde(default = "root")]
    #[schemars(length(max = 253), extend("pattern" = "^/"))]
    pub path: String,
    /// Name of the IngressClass, and so of the controller. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Annotations of the Ingress, which its controller is told with. With spec.api.tls the controller has to be told to speak
    /// TLS to the pods, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of a Secret with the certificate that the controller shows to clients. Default: none, or that of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// An HTTPRoute of the Gateway API to the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiHttpRouteSpec {
    /// The Gateways that it is attached to.
    #[schemars(length(min = 1, max = 32))]
    pub parent_refs: Vec<GatewayRef>,
    /// Names under which clients reach it. Default: those of the Gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub hostnames: Vec<String>,
}

/// A Gateway, or one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: that of the BirbNest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of the listener. Default: all that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub section_name: Option<String>,
}
