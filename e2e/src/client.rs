//! A client of the HTTP API that tells everything it was answered.

use std::{net::SocketAddr, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method, StatusCode, Url, Version,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::wait::{eventually, seen};

/// Longer than any answer may take: what exceeds it is a hang.
const HANG: Duration = Duration::from_secs(15);

/// A client of one API address.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The version of HTTP.
    pub http: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl ApiClient {
    /// A client of the API at this address, such as `http://127.0.0.1:8080`.
    ///
    /// # Panics
    /// When that is no address.
    pub fn new(base: &str) -> Self {
        Self::built(base, reqwest::Client::builder())
    }

    /// A client of the API of that host, such as `localhost`, which is at this address and has to show this certificate (PEM).
    ///
    /// # Panics
    /// When that is no certificate.
    pub fn trusting(certificate: &str, host: &str, address: SocketAddr) -> Self {
        let root = reqwest::Certificate::from_pem(certificate.as_bytes());
        let root = root.unwrap_or_else(|error| panic!("no certificate: {error}"));
        let http = reqwest::Client::builder()
            .tls_certs_only([root])
            .resolve(host, address);
        Self::built(&format!("https://{host}:{}", address.port()), http)
    }

    fn built(base: &str, http: reqwest::ClientBuilder) -> Self {
        let http = http.timeout(HANG).no_proxy().build();
        let http = http.unwrap_or_else(|error| panic!("no HTTP client: {error}"));
        let base = Url::parse(base).unwrap_or_else(|error| panic!("{base} is no address: {error}"));
        Self { http, base }
    }

    /// The address.
    pub fn base(&self) -> &str {
        self.base.as_str()
    }

    /// The address of a key, with everything escaped that is no letter or digit.
    ///
    /// # Panics
    /// When there is no such address.
    pub fn url_of(&self, key: &str) -> Url {
        let escaped = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let url = self.base.join(&format!("/v1/cache/{escaped}"));
        url.unwrap_or_else(|error| panic!("{key:?} makes no address: {error}"))
    }

    /// A request to be changed before it is sent; the path is taken as it is.
    ///
    /// # Panics
    /// When the path is none.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let url = self
            .base
            .join(path)
            .unwrap_or_else(|error| panic!("{path} is no path: {error}"));
        Request(self.http.request(method, url))
    }

    /// A request about a key, to be changed before it is sent.
    pub fn about(&self, method: Method, key: &str) -> Request {
        Request(self.http.request(method, self.url_of(key)))
    }

    /// Writes a value.
    pub async fn put(&self, key: &str, value: Value) -> Answer {
        self.about(Method::PUT, key)
            .json(&json!({ "value": value }))
            .send()
            .await
    }

    /// Writes a value that lives for so many seconds.
    pub async fn put_for(&self, key: &str, value: Value, ttl_seconds: u64) -> Answer {
        let body = json!({ "value": value, "ttl": ttl_seconds });
        self.about(Method::PUT, key).json(&body).send().await
    }

    /// Reads an entry.
    pub async fn get(&self, key: &str) -> Answer {
        self.about(Method::GET, key).send().await
    }

    /// Waits until the entry is answered from Redis, and returns the answer.
    pub async fn until_hit(&self, key: &str) -> Answer {
        eventually(&format!("{key} is read from Redis"), || async {
            let read = self.get(key).await;
            seen(read, |read| read.status == 200 && read.is_hit())
        })
        .await
    }

    /// Deletes an entry.
    pub async fn delete(&self, key: &str) -> Answer {
        self.about(Method::DELETE, key).send().await
    }
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Request(reqwest::RequestBuilder);

impl Request {
    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// With this very body and media type.
    #[must_use]
    pub fn body(self, media_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", media_type).body(body))
    }

    /// With a header.
    #[must_use]
    pub fn header(self, name: &'static str, value: &str) -> Self {
        Self(self.0.header(HeaderName::from_static(name), value))
    }

    /// Sends it.
    ///
    /// # Panics
    /// When there is no answer: nobody listens, the connection broke, or 15 s went by.
    pub async fn send(self) -> Answer {
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.0.send().await?;
        let (status, http, headers) = (response.status(), response.version(), response.headers().clone());
        Ok(Answer {
            status,
            http,
            headers,
            text: response.text().await?,
        })
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(json) => json,
            Err(error) => panic!(
                "{} with a body that is no JSON ({error}): {}",
                self.status, self.text
            ),
        }
    }

    /// The answer itself when it has this status.
    ///
    /// # Panics
    /// When it has another.
    #[allow(
        clippy::return_self_not_must_use,
        reason = "most stories only look at the status"
    )]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Whether Redis had it.
    pub fn is_hit(&self) -> bool {
        self.header("cache-status").contains("hit")
    }

    /// The entry's value.
    ///
    /// # Panics
    /// When this is no entry.
    pub fn value(&self) -> Value {
        self.member("value")
    }

    /// The entry's version.
    ///
    /// # Panics
    /// When this is no entry.
    pub fn version(&self) -> u64 {
        self.member("version")
            .as_u64()
            .unwrap_or_else(|| panic!("the version is no number: {}", self.text))
    }

    /// The name of the error.
    ///
    /// # Panics
    /// When this is no error.
    pub fn code(&self) -> String {
        self.member("code").as_str().unwrap_or_default().to_owned()
    }

    /// A member of the body.
    ///
    /// # Panics
    /// When the body does not have it.
    pub fn member(&self, name: &str) -> Value {
        let json = self.json();
        json.get(name)
            .cloned()
            .unwrap_or_else(|| panic!("{} without {name:?}: {}", self.status, self.text))
    }

    /// A header's value as text, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(HeaderValue::to_str)
            .and_then(Result::ok)
            .unwrap_or_default()
    }
}
