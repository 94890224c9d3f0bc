//! The `StatefulSet` of a managed backend: one pod, and a volume when it has something to keep.

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Container, ContainerPort, EmptyDirVolumeSource, EnvVar, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
            TCPSocketAction, Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{
    metadata::{self, some},
    pod,
    security::{self, Account},
};
use crate::reconcile::validate::{Component, ValidNest};

/// Where a backend keeps what it has.
pub(super) const DATA_FOLDER: &str = "/data";

/// What differs from backend to backend.
pub(super) struct Server {
    pub(super) component: Component,
    pub(super) image: String,
    pub(super) account: Account,
    /// Names and numbers; the first one is where clients go.
    pub(super) ports: &'static [(&'static str, i32)],
    pub(super) environment: Vec<EnvVar>,
    /// How to ask whether it serves; times are added.
    pub(super) ready: Probe,
    pub(super) resources: ResourceRequirements,
    /// Size of its volume; none: it keeps nothing.
    pub(super) storage: Option<Quantity>,
    pub(super) grace_seconds: i64,
}

pub(super) fn build(nest: &ValidNest, server: &Server) -> StatefulSet {
    StatefulSet {
        metadata: metadata::of(&nest.id, server.component),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            revision_history_limit: Some(3),
            selector: metadata::selector(&nest.id, server.component),
            service_name: Some(nest.id.child(server.component)),
            template: template(nest, server),
            volume_claim_templates: server
                .storage
                .clone()
                .map(|size| vec![claim(nest, server.component, size)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn template(nest: &ValidNest, server: &Server) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(nest.id.labels(server.component)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            containers: vec![container(nest, server)],
            enable_service_links: Some(false),
            image_pull_secrets: pod::pull_secrets(nest),
            node_selector: metadata::filled(nest.pod.node_selector.clone()),
            security_context: Some(security::pod(server.account)),
            service_account_name: Some(nest.id.child(Component::Backends)),
            termination_grace_period_seconds: Some(server.grace_seconds),
            tolerations: some(&nest.pod.tolerations),
            volumes: server.storage.is_none().then(|| vec![scratch()]),
            ..PodSpec::default()
        }),
    }
}

fn container(nest: &ValidNest, server: &Server) -> Container {
    let timed = |period_seconds, failure_threshold| Probe {
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..server.ready.clone()
    };
    Container {
        name: server.component.as_str().to_owned(),
        image: Some(server.image.clone()),
        image_pull_policy: nest
            .release
            .images
            .pull_policy
            .map(|policy| policy.as_str().to_owned()),
        env: Some(server.environment.clone()),
        // Whether it still listens; a server that repairs its files after a crash is slow and not dead.
        liveness_probe: server.ports.first().map(|(port, _)| listening(port)),
        ports: Some(server.ports.iter().map(port).collect()),
        readiness_probe: Some(timed(5, 3)),
        resources: Some(server.resources.clone()),
        security_context: Some(security::container()),
        // Ten minutes: a volume that was not left in good order is gone through first.
        startup_probe: Some(timed(1, 600)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![VolumeMount {
            name: "data".to_owned(),
            mount_path: DATA_FOLDER.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn listening(port: &str) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(port.to_owned()),
            host: None,
        }),
        period_seconds: Some(10),
        timeout_seconds: Some(5),
        failure_threshold: Some(6),
        ..Probe::default()
    }
}

fn port((name, number): &(&str, i32)) -> ContainerPort {
    ContainerPort {
        name: Some((*name).to_owned()),
        container_port: *number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn scratch() -> Volume {
    Volume {
        name: "data".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// Labelled like everything else of the nest, so that it is found when the data is to be deleted.
fn claim(nest: &ValidNest, component: Component, size: Quantity) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(nest.id.labels(component)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
