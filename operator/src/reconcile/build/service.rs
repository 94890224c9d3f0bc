//! Services: the API's address, the workers' metrics, and an address for each managed backend.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata;
use crate::reconcile::validate::{Component, NestId, ValidNest};

/// Services of API and workers.
pub(super) fn workloads(nest: &ValidNest) -> Vec<Service> {
    let (id, access) = (&nest.id, &nest.access);
    let api = ServiceSpec {
        type_: Some(access.service.r#type.as_str().to_owned()),
        load_balancer_source_ranges: metadata::some(&access.service.load_balancer_source_ranges),
        ..spec(id, Component::Api, &[(access.scheme(), access.port())])
    };
    let mut api = service(id, Component::Api, api);
    api.metadata.annotations = metadata::filled(access.service.annotations.clone());
    // Headless: whoever collects metrics wants each worker, also one that is not ready.
    let worker = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ..spec(id, Component::Worker, &[("http", 8081)])
    };
    vec![api, service(id, Component::Worker, worker)]
}

/// The Service of a managed backend, with the names and numbers of its ports.
pub(super) fn backend(id: &NestId, component: Component, ports: &[(&str, i32)]) -> Service {
    service(id, component, spec(id, component, ports))
}

fn service(id: &NestId, component: Component, spec: ServiceSpec) -> Service {
    Service {
        metadata: metadata::of(id, component),
        spec: Some(spec),
        status: None,
    }
}

fn spec(id: &NestId, component: Component, ports: &[(&str, i32)]) -> ServiceSpec {
    let port = |(name, port): &(&str, i32)| ServicePort {
        name: Some((*name).to_owned()),
        port: *port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String((*name).to_owned())),
        ..ServicePort::default()
    };
    ServiceSpec {
        ports: Some(ports.iter().map(port).collect()),
        selector: Some(id.selector(component)),
        ..ServiceSpec::default()
    }
}
