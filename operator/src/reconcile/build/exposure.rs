//! How clients outside the cluster reach the HTTP API.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use serde_json::json;

use super::metadata;
use crate::{
    kinds::{Foreign, http_route},
    reconcile::validate::{Component, ValidNest},
};

/// None when the spec asks for none.
pub(super) fn ingress(nest: &ValidNest) -> Option<Ingress> {
    let asked = nest.access.ingress.as_ref()?;
    let mut metadata = metadata::of(&nest.id, Component::Api);
    metadata.annotations = metadata::filled(asked.annotations.clone());
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: nest.id.child(Component::Api),
            port: Some(ServiceBackendPort {
                name: Some(nest.access.scheme().to_owned()),
                number: None,
            }),
        }),
        resource: None,
    };
    let path = HTTPIngressPath {
        path: Some(asked.path.clone()),
        path_type: "Prefix".to_owned(),
        backend,
    };
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: asked.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(asked.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: asked.tls_secret_name.as_ref().map(|secret| {
                vec![IngressTLS {
                    hosts: Some(vec![asked.host.clone()]),
                    secret_name: Some(secret.clone()),
                }]
            }),
            default_backend: None,
        }),
        status: None,
    })
}

/// None when the spec asks for none.
pub(super) fn route(nest: &ValidNest) -> Option<Foreign> {
    let asked = nest.access.http_route.as_ref()?;
    let backend = json!({ "name": nest.id.child(Component::Api), "port": nest.access.port() });
    let mut spec = json!({ "parentRefs": asked.parent_refs, "rules": [{ "backendRefs": [backend] }] });
    if !asked.hostnames.is_empty() {
        spec["hostnames"] = json!(asked.hostnames);
    }
    let metadata = metadata::of(&nest.id, Component::Api);
    Some(Foreign::new(http_route(), metadata, &spec))
}
