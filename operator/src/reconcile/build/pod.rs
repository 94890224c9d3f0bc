//! The pods of API, workers and migration: one image, one binary each, a configuration file and three addresses.

use birbnest_crds::{ManagedStoreSpec, ResourcesSpec, SecretKeyRef};
use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
        Lifecycle, LifecycleHandler, LocalObjectReference, PodSpec, PodTemplateSpec, Probe,
        ResourceRequirements, SecretKeySelector, SecretVolumeSource, SleepAction, TopologySpreadConstraint,
        Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{
    config_map::{self, Files},
    credentials::Login,
    metadata::{self, HASH_ANNOTATION, some},
    security,
};
use crate::reconcile::validate::{Address, Component, Digest, NestId, ValidNest};

const CONFIG_FOLDER: &str = "/etc/birbnest";

/// What differs from component to component.
pub(super) struct Shape {
    pub(super) component: Component,
    pub(super) resources: ResourceRequirements,
    /// What the binary is told beside its configuration file.
    pub(super) arguments: &'static [&'static str],
    /// Where health and metrics are served; a migration serves nothing.
    pub(super) port: Option<Port>,
    /// Secrets that it follows while it runs.
    pub(super) mounts: Vec<Mount>,
    /// How long a pod that is going away still takes requests, until nobody sends it any.
    pub(super) pre_stop_seconds: Option<i64>,
    /// How long a pod may take to go away.
    pub(super) grace_seconds: i64,
    /// None: that of the workload's kind.
    pub(super) restart_policy: Option<&'static str>,
}

/// A port for HTTP, with or without TLS.
#[derive(Clone, Copy)]
pub(super) struct Port {
    /// `http` or `https`, and so its name.
    pub(super) scheme: &'static str,
    pub(super) number: i32,
}

/// A Secret as a folder.
pub(super) struct Mount {
    /// The volume's name.
    pub(super) name: &'static str,
    pub(super) secret: String,
    pub(super) folder: &'static str,
}

/// The template of a component's pods.
pub(super) fn template(nest: &ValidNest, files: &Files, shape: &Shape) -> PodTemplateSpec {
    let component = shape.component;
    let mut annotations = nest.pod.annotations.clone();
    annotations.insert(
        HASH_ANNOTATION.to_owned(),
        hash(nest, component, files.text(component)).as_str().to_owned(),
    );
    let mut labels = nest.pod.labels.clone();
    labels.extend(nest.id.labels(component));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            annotations: Some(annotations),
            labels: Some(labels),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            affinity: nest.pod.affinity.clone(),
            automount_service_account_token: Some(false),
            containers: vec![container(nest, shape)],
            // Variables of every Service of the namespace would be in reach of a program that reads its environment.
            enable_service_links: Some(false),
            image_pull_secrets: pull_secrets(nest),
            node_selector: metadata::filled(nest.pod.node_selector.clone()),
            restart_policy: shape.restart_policy.map(str::to_owned),
            security_context: Some(security::pod(security::BIRBNEST)),
            service_account_name: Some(nest.id.child(component)),
            termination_grace_period_seconds: Some(shape.grace_seconds),
            tolerations: some(&nest.pod.tolerations),
            topology_spread_constraints: Some(spread(nest, component)),
            volumes: Some(volumes(nest, shape)),
            ..PodSpec::default()
        }),
    }
}

/// What the scheduler sets aside for a container, and the memory above which it is ended.
pub(super) fn resources_or(
    asked: &ResourcesSpec,
    cpu: &str,
    memory: &str,
    limit: Option<&str>,
) -> ResourceRequirements {
    let memory_only = |quantity: &str| ("memory".to_owned(), Quantity(quantity.to_owned()));
    asked.requirements().unwrap_or_else(|| ResourceRequirements {
        requests: Some([("cpu".to_owned(), Quantity(cpu.to_owned())), memory_only(memory)].into()),
        limits: limit.map(|limit| [memory_only(limit)].into()),
        claims: None,
    })
}

/// References to the Secrets of the registries.
pub(super) fn pull_secrets(nest: &ValidNest) -> Option<Vec<LocalObjectReference>> {
    some(&nest.pod.image_pull_secrets)
}

/// A digest of everything that a pod reads once, when it starts.
fn hash(nest: &ValidNest, component: Component, file: &str) -> Digest {
    let backends = &nest.backends;
    let mut digests = vec![
        digest(&backends.redis),
        digest(&backends.nats),
        digest(&backends.postgres),
    ];
    digests.extend(owner(nest, component).map(digest));
    Digest::of(format!("{file}\n{}", digests.join("\n")).as_bytes())
}

/// The address of the role that owns the tables is the migration's alone.
fn owner(nest: &ValidNest, component: Component) -> Option<&Address<ManagedStoreSpec>> {
    let owner = nest.backends.postgres_owner.as_ref();
    owner.filter(|_| component == Component::Migrate)
}

/// An address in the spec is part of the pod itself; a generated one never changes.
fn digest<M>(address: &Address<M>) -> &str {
    match address {
        Address::Secret { digest, .. } => digest.as_str(),
        Address::Plain(_) | Address::Managed(_) => "",
    }
}

fn container(nest: &ValidNest, shape: &Shape) -> Container {
    let component = shape.component.as_str();
    Container {
        name: component.to_owned(),
        image: Some(nest.release.images.birbnest.clone()),
        image_pull_policy: pull_policy(nest),
        command: Some(vec![format!("birbnest-{component}")]),
        args: Some(arguments(shape)),
        env: Some(environment(nest, shape.component)),
        lifecycle: shape.pre_stop_seconds.map(sleep_before_stop),
        liveness_probe: shape.port.map(|port| probe(port, "/livez", 10, 3)),
        ports: shape.port.map(|port| vec![container_port(port)]),
        readiness_probe: shape.port.map(|port| probe(port, "/readyz", 2, 3)),
        resources: Some(shape.resources.clone()),
        security_context: Some(security::container()),
        // On being alive and not on being ready: a backend that is away must not restart the pods that wait for it.
        startup_probe: shape.port.map(|port| probe(port, "/livez", 1, 60)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(volume_mounts(shape)),
        ..Container::default()
    }
}

fn arguments(shape: &Shape) -> Vec<String> {
    let file = format!("{CONFIG_FOLDER}/{}", config_map::file_name(shape.component));
    let own = shape.arguments.iter().map(|argument| (*argument).to_owned());
    ["--config".to_owned(), file].into_iter().chain(own).collect()
}

/// The nest's own wish, since it may also bring its own image; else the operator's.
fn pull_policy(nest: &ValidNest) -> Option<String> {
    let policy = nest.pod.image_pull_policy.or(nest.release.images.pull_policy);
    policy.map(|policy| policy.as_str().to_owned())
}

fn environment(nest: &ValidNest, component: Component) -> Vec<EnvVar> {
    let (id, backends) = (&nest.id, &nest.backends);
    let mut variables = vec![
        address("BIRBNEST_REDIS_URL", &backends.redis, id, Login::Redis),
        address("BIRBNEST_NATS_URL", &backends.nats, id, Login::Nats),
        address(
            "BIRBNEST_POSTGRES_URL",
            &backends.postgres,
            id,
            Login::PostgresApp,
        ),
    ];
    let owner = owner(nest, component);
    variables
        .extend(owner.map(|owner| address("BIRBNEST_POSTGRES_OWNER_URL", owner, id, Login::PostgresOwner)));
    variables.extend(nest.pod.env.iter().cloned());
    variables
}

fn address<M>(variable: &str, address: &Address<M>, id: &NestId, login: Login) -> EnvVar {
    match address {
        Address::Plain(url) => EnvVar {
            name: variable.to_owned(),
            value: Some(url.clone()),
            value_from: None,
        },
        Address::Secret { reference, .. } => from_secret(variable, reference),
        Address::Managed(_) => {
            let (name, key) = (id.credentials(), login.url_key());
            from_secret(variable, &SecretKeyRef { name, key })
        }
    }
}

/// A variable whose value is kept in a Secret.
pub(super) fn from_secret(variable: &str, reference: &SecretKeyRef) -> EnvVar {
    let selector = SecretKeySelector {
        name: reference.name.clone(),
        key: reference.key.clone(),
        optional: None,
    };
    EnvVar {
        name: variable.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(selector),
            ..EnvVarSource::default()
        }),
    }
}

fn container_port(port: Port) -> ContainerPort {
    ContainerPort {
        name: Some(port.scheme.to_owned()),
        container_port: port.number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(port: Port, path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.scheme.to_owned()),
            // Nobody looks at the certificate.
            scheme: (port.scheme == "https").then(|| "HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn sleep_before_stop(seconds: i64) -> Lifecycle {
    let sleep = LifecycleHandler {
        sleep: Some(SleepAction { seconds }),
        ..LifecycleHandler::default()
    };
    Lifecycle {
        pre_stop: Some(sleep),
        ..Lifecycle::default()
    }
}

fn volumes(nest: &ValidNest, shape: &Shape) -> Vec<Volume> {
    let secrets = shape.mounts.iter().map(|mount| Volume {
        name: mount.name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(mount.secret.clone()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    std::iter::once(config_volume(nest, shape.component))
        .chain(secrets)
        .collect()
}

fn volume_mounts(shape: &Shape) -> Vec<VolumeMount> {
    let secrets = shape.mounts.iter().map(|mount| (mount.name, mount.folder));
    let all = std::iter::once(("config", CONFIG_FOLDER)).chain(secrets);
    let mount = |(name, folder): (&str, &str)| VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    all.map(mount).collect()
}

fn config_volume(nest: &ValidNest, component: Component) -> Volume {
    let file = config_map::file_name(component);
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: nest.id.child(Component::Config),
            items: Some(vec![KeyToPath {
                key: file.clone(),
                path: file,
                mode: None,
            }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn spread(nest: &ValidNest, component: Component) -> Vec<TopologySpreadConstraint> {
    let own = metadata::selector(&nest.id, component);
    if nest.pod.topology_spread_constraints.is_empty() {
        return vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(own),
            ..TopologySpreadConstraint::default()
        }];
    }
    let mut constraints = nest.pod.topology_spread_constraints.clone();
    for constraint in &mut constraints {
        constraint.label_selector.get_or_insert_with(|| own.clone());
    }
    constraints
}
