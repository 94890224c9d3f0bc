use birbnest_core::config::{ApiConfig, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiAuthSpec, ApiHttpRouteSpec, ApiIngressSpec, ApiServiceSpec, ApiTlsSpec, ResourcesSpec, rules,
};

/// The HTTP service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "!(has(self.replicas) && has(self.autoscaling))",
    "spec.api takes replicas or autoscaling, not both: with autoscaling the HorizontalPodAutoscaler sets the number of pods",
)]))]
pub struct ApiSpec {
    /// Number of API pods. 1 to 100; 2 when neither this nor autoscaling is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Let a HorizontalPodAutoscaler set the number of API pods by their CPU. Instead of replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiAutoscalingSpec")]
    pub autoscaling: Option<ApiAutoscalingSpec>,
    /// Compute resources of each API pod. Default: requests of 100m CPU and 128Mi memory, a limit of 512Mi memory.
    pub resources: ResourcesSpec,
    /// Requests in progress in one pod above which it answers 503. 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_concurrent_requests: i32,
    /// Bytes of bodies and large answers that one pod has in progress, above which it answers 503. 32 MiB to 64 GiB. The
    /// pod takes about four times as much: an eighth of its memory limit is a good value.
    #[schemars(range(min = 32 << 20, max = 64_i64 << 30))]
    pub max_bytes_in_progress: i64,
    /// Open connections of one pod above which a new one is answered 503 and closed. 16 to 1000000.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub max_connections: i32,
    /// How long a request may take, the reading of its body included. 100ms to 1m.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.api.requestTimeout", "100ms", "1m")))]
    pub request_timeout: Period,
    /// Serve HTTP with TLS, on port 443 of the Service in the place of 80. Clients have to follow when it is set or taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiTlsSpec")]
    pub tls: Option<ApiTlsSpec>,
    /// Who may use it. Default: whoever reaches it.
    pub auth: ApiAuthSpec,
    /// Its Service.
    pub service: ApiServiceSpec,
    /// Make an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiIngressSpec")]
    pub ingress: Option<ApiIngressSpec>,
    /// Make an HTTPRoute of the Gateway API, whose kinds must be installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiHttpRouteSpec")]
    pub http_route: Option<ApiHttpRouteSpec>,
}

/// The HorizontalPodAutoscaler of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "self.min <= self.max",
    "spec.api.autoscaling.min must not be above spec.api.autoscaling.max",
)]))]
pub struct ApiAutoscalingSpec {
    /// Least number of API pods. 1 to 100.
    #[serde(default = "least")]
    #[schemars(range(min = 1, max = 100))]
    pub min: i32,
    /// Greatest number of API pods. 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub max: i32,
    /// Mean CPU use, in percent of the requested CPU, that the autoscaler aims at. 1 to 100.
    #[serde(default = "cpu")]
    #[schemars(range(min = 1, max = 100))]
    pub target_cpu_percent: i32,
}

fn least() -> i32 {
    2
}

fn cpu() -> i32 {
    70
}

impl Default for ApiSpec {
    fn default() -> Self {
        Self {
            replicas: None,
            autoscaling: None,
            resources: ResourcesSpec::default(),
            max_concurrent_requests: 10_000,
            max_bytes_in_progress: 64 << 20,
            max_connections: 4_096,
            request_timeout: ApiConfig::default().request_timeout,
            tls: None,
            auth: ApiAuthSpec::default(),
            service: ApiServiceSpec::default(),
            ingress: None,
            http_route: None,
        }
    }
}
