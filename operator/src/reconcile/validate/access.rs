//! How the HTTP API is reached, and by whom.

use std::collections::BTreeSet;

use birbnest_crds::{ApiHttpRouteSpec, ApiIngressSpec, ApiServiceSpec, ApiSpec};

use super::{Invalid, SecretDigests};

/// How the HTTP API is reached, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The Secret with its certificate; none: it speaks plain HTTP.
    pub tls: Option<String>,
    /// What clients are asked for; none: nothing.
    pub api_keys: Option<ApiKeys>,
    /// Its Service.
    pub service: ApiServiceSpec,
    /// An Ingress in front of it.
    pub ingress: Option<ApiIngressSpec>,
    /// A route of the Gateway API to it.
    pub http_route: Option<ApiHttpRouteSpec>,
}

/// Where the API keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeys {
    /// In a Secret of the user.
    Secret(String),
    /// In one that the operator makes.
    Generated,
}

impl Access {
    /// Checks what the spec says against the Secrets that it names.
    pub(super) fn of(spec: &ApiSpec, secrets: &SecretDigests) -> Result<Self, Invalid> {
        let tls = spec.tls.as_ref();
        let tls = tls.map(|tls| CERTIFICATE.check(&tls.secret_name, secrets));
        let keys = spec.auth.api_keys.as_ref().map(|keys| match &keys.secret_name {
            Some(name) => API_KEYS.check(name, secrets).map(ApiKeys::Secret),
            None => Ok(ApiKeys::Generated),
        });
        Ok(Self {
            tls: tls.transpose()?,
            api_keys: keys.transpose()?,
            service: spec.service.clone(),
            ingress: spec.ingress.clone(),
            http_route: spec.http_route.clone(),
        })
    }

    /// How addresses of the API begin, and what its port is called.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The port of its Service.
    pub const fn port(&self) -> i32 {
        if self.tls.is_some() { 443 } else { 80 }
    }
}

/// A Secret that pods mount, and what has to be in it.
struct Mounted {
    field: &'static str,
    needed: &'static str,
    is_enough: fn(&BTreeSet<String>) -> bool,
}

const CERTIFICATE: Mounted = Mounted {
    field: "spec.api.tls.secretName",
    needed: "a certificate in tls.crt and its key in tls.key, both PEM",
    is_enough: |keys| keys.contains("tls.crt") && keys.contains("tls.key"),
};

const API_KEYS: Mounted = Mounted {
    field: "spec.api.auth.apiKeys.secretName",
    needed: "a key for each client, under the client's name",
    is_enough: |keys| !keys.is_empty(),
};

impl Mounted {
    /// The name of the Secret, if it holds what is needed.
    fn check(&self, name: &str, secrets: &SecretDigests) -> Result<String, Invalid> {
        let (field, needed, name) = (self.field, self.needed, name.to_owned());
        match secrets.mounted(&name) {
            None => Err(Invalid::MountNotFound { field, name, needed }),
            Some(keys) if !(self.is_enough)(keys) => Err(Invalid::MountIncomplete { field, name, needed }),
            Some(_) => Ok(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{ByteString, api::core::v1::Secret};
    use serde_json::json;

    use super::*;

    fn spec(fields: &serde_json::Value) -> ApiSpec {
        serde_json::from_value(fields.clone()).unwrap()
    }

    fn holding(keys: &[&str]) -> SecretDigests {
        let data = keys
            .iter()
            .map(|key| ((*key).to_owned(), ByteString(b"x".to_vec())));
        let secret = Secret {
            data: Some(data.collect()),
            ..Secret::default()
        };
        SecretDigests::default().with_mounted("mine", Some(&secret))
    }

    #[test]
    fn a_certificate_that_is_not_there_is_asked_for() {
        let spec = spec(&json!({ "tls": { "secretName": "mine" } }));
        let missing = Access::of(&spec, &SecretDigests::default()).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "spec.api.tls.secretName names the Secret mine, which does not exist: create it with a certificate in tls.crt and \
             its key in tls.key, both PEM"
        );
        let half = Access::of(&spec, &holding(&["tls.crt"])).unwrap_err();
        assert_eq!(half.reason(), "SecretKeyNotFound");
        let whole = Access::of(&spec, &holding(&["tls.crt", "tls.key"])).unwrap();
        assert_eq!((whole.scheme(), whole.port()), ("https", 443));
    }

    #[test]
    fn keys_are_the_users_or_the_operators() {
        let own = spec(&json!({ "auth": { "apiKeys": { "secretName": "mine" } } }));
        let access = Access::of(&own, &holding(&["shop"])).unwrap();
        assert_eq!(access.api_keys, Some(ApiKeys::Secret("mine".to_owned())));
        assert_eq!(
            Access::of(&own, &holding(&[])).unwrap_err().reason(),
            "SecretKeyNotFound"
        );
        let generated = spec(&json!({ "auth": { "apiKeys": {} } }));
        let access = Access::of(&generated, &SecretDigests::default()).unwrap();
        assert_eq!(
            (access.api_keys.clone(), access.scheme()),
            (Some(ApiKeys::Generated), "http")
        );
    }
}
