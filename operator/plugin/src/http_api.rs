//! The HTTP API of a nest, through the API server's proxy of its Service.

use anyhow::{Context, bail};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::Value;

/// The API of one nest.
pub(crate) struct HttpApi {
    client: Client,
    proxy: String,
}

impl HttpApi {
    /// The API of the nest of that name.
    pub(crate) fn of(client: Client, namespace: &str, name: &str) -> Self {
        let proxy = format!("/api/v1/namespaces/{namespace}/services/{name}-api:http/proxy");
        Self { client, proxy }
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

    /// The answer's JSON, null for an empty one; an answer that refuses is an error with the reason that it gives.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.proxy))
            .header("content-type", "application/json")
            .body(Body::from(body))?;
        let answer = self
            .client
            .send(request)
            .await
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
