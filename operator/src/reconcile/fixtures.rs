//! Nests as tests need them.

use birbnest_crds::{BirbNest, ImagePullPolicy, SecretKeyRef};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};

use super::validate::{
    Images, Release, SecretContent, SecretDigests, ValidNest, mounted_secrets, named_secrets, validate,
};

pub(crate) fn release() -> Release {
    Release {
        images: Images {
            birbnest: "birbnest.local/birbnest:test".to_owned(),
            redis: "birbnest.local/redis:7".to_owned(),
            nats: "birbnest.local/nats:2.15".to_owned(),
            postgres: "birbnest.local/postgres:15".to_owned(),
            pull_policy: Some(ImagePullPolicy::IfNotPresent),
        },
        schema_version: 2,
        namespace: "birbnest-system".to_owned(),
        runbooks: "https://runbooks.example/birbnest".to_owned(),
    }
}

pub(crate) fn nest(spec: &Value) -> BirbNest {
    let object = json!({
        "apiVersion": "birbnest.dev/v1alpha1",
        "kind": "BirbNest",
        "metadata": { "name": "prices", "namespace": "shop" },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

pub(crate) fn managed() -> BirbNest {
    nest(&json!({ "redis": { "managed": {} }, "nats": { "managed": {} }, "postgres": { "managed": {} } }))
}

pub(crate) fn external() -> BirbNest {
    nest(&json!({
        "redis": { "urlFrom": { "secretKeyRef": { "name": "backends", "key": "redis-url" } } },
        "nats": { "url": "nats://nats:4222" },
        "postgres": { "urlFrom": { "secretKeyRef": { "name": "backends", "key": "postgres-url" } } },
    }))
}

/// Checks a nest, every Secret that it names holding an address.
pub(crate) fn valid(nest: &BirbNest) -> ValidNest {
    valid_with(nest, "host")
}

pub(crate) fn valid_with(nest: &BirbNest, host: &str) -> ValidNest {
    let content = |reference: &SecretKeyRef| {
        let scheme = reference.key.split('-').next().unwrap();
        let url = ByteString(format!("{scheme}://{host}").into_bytes());
        let secret = Secret {
            data: Some([(reference.key.clone(), url)].into()),
            ..Secret::default()
        };
        (
            reference.clone(),
            SecretContent::look(Some(&secret), &reference.key),
        )
    };
    let addresses: SecretDigests = named_secrets(nest).into_iter().map(content).collect();
    let keys = ["tls.crt", "tls.key"].map(|key| (key.to_owned(), ByteString(b"PEM".to_vec())));
    let mounted = Secret {
        data: Some(keys.into()),
        ..Secret::default()
    };
    let secrets = mounted_secrets(nest)
        .into_iter()
        .fold(addresses, |secrets, name| {
            secrets.with_mounted(name, Some(&mounted))
        });
    validate(nest, &secrets, &release()).unwrap()
}
