//! The HTTP API of a nest, through the API server's proxy of its Service.

use std::time::Duration;

use anyhow::{Context, bail};
use birbnest_crds::BirbNest;
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt, client::Body};
use serde_json::Value;
use tokio::time::timeout;

/// How long an answer may take: a request of ours has five seconds in the API.
const PATIENCE: Duration = Duration::from_secs(15);

/// The API of one nest.
pub(crate) struct HttpApi {
    client: Client,
    namespace: String,
    proxy: String,
    /// The Secret with the API keys, where they are asked for.
    keys: Option<String>,
}

impl HttpApi {
    /// The API of a nest.
    pub(crate) fn of(client: &Client, nest: &BirbNest) -> Self {
        let (namespace, name, api) = (
            nest.namespace().unwrap_or_default(),
            nest.name_any(),
            &nest.spec.api,
        );
        let service = match api.tls {
            Some(_) => format!("https:{name}-api:https"),
            None => format!("{name}-api:http"),
        };
        let keys = api.auth.api_keys.as_ref().map(|keys| match &keys.secret_name {
            Some(secret) => secret.clone(),
            None => format!("{name}-api-keys"),
        });
        Self {
            client: client.clone(),
            proxy: format!("/api/v1/namespaces/{namespace}/services/{service}/proxy"),
            namespace,
            keys,
        }
    }

    /// What is there.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks for something to be done.
    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body).await
    }

    /// Takes something away.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Any of the keys.
    async fn key(&self, secret: &str) -> anyhow::Result<HeaderValue> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = secrets.get(secret).await;
        let found = found.with_context(|| format!("the Secret {secret} with the API keys cannot be read"))?;
        let Some((_, key)) = found.data.into_iter().flatten().next() else {
            bail!("the Secret {secret} has no API key in it");
        };
        HeaderValue::from_bytes(key.0.trim_ascii())
            .with_context(|| format!("the API key in the Secret {secret} cannot be sent in a header"))
    }

    /// The answer's JSON, null for an empty one; an answer that refuses is an error with the reason that it gives.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.proxy))
            .header("content-type", "application/json");
        // Not as a bearer token: the API server takes that for its own.
        if let Some(secret) = self.keys.as_ref().filter(|_| path.starts_with("/v1/")) {
            request = request.header("x-api-key", self.key(secret).await?);
        }
        let request = request.body(Body::from(body))?;
        // Where no pod serves, the API server tries one after the other for minutes.
        let answer = timeout(PATIENCE, self.client.send(request)).await;
        let answer = answer
            .with_context(|| format!("no pod of the API answers within {} s", PATIENCE.as_secs()))?
            .context("the API server does not answer")?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        let parsed = serde_json::from_slice::<Value>(&bytes);
        // A health that is not good is told with a 503.
        if status.is_success() || (path == "/health" && parsed.is_ok()) {
            return Ok(parsed.unwrap_or_default());
        }
        let told = parsed.as_ref().ok().and_then(|problem| {
            let detail = problem.get("detail").or_else(|| problem.get("message"));
            detail.and_then(Value::as_str)
        });
        let text = String::from_utf8_lossy(&bytes);
        bail!("{status}: {}", told.unwrap_or(text.trim()))
    }
}
