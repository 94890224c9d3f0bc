//! Errors as clients see them: one JSON object that is both the `{error, code, details}` that existing clients read and
//! the problem details of RFC 9457. Causes stay in the log.

use std::borrow::Cow;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Who answered a read (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What went wrong, for the client.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    /// Seconds after which trying again makes sense.
    retry_after: Option<u32>,
    /// Who said that there is nothing (RFC 9211).
    cache_status: Option<HeaderValue>,
    /// Whether the connection cannot be used for another request.
    closes: bool,
    /// The cause, for the log only.
    cause: Option<String>,
}

/// The JSON object of a problem.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    error: &'a str,
    code: &'a str,
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// The cause of a failure, handed to the one place that logs it.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

impl Problem {
    /// A problem with the stable code that clients act on.
    pub(crate) fn new(status: StatusCode, code: &'static str) -> Self {
        Self {
            status,
            code,
            detail: Cow::Borrowed(""),
            retry_after: None,
            cache_status: None,
            closes: false,
            cause: None,
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The connection is of no use after this; its client should know.
    pub(crate) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(crate) fn cache_status(mut self, source: HeaderValue) -> Self {
        self.cache_status = Some(source);
        self
    }

    pub(crate) fn cause(mut self, cause: &impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Names the key of a batch that it is about.
    pub(crate) fn about(mut self, key: &str) -> Self {
        self.detail = format!("{key}: {}", self.detail).into();
        self
    }

    /// What a batch says of one of its keys.
    pub(crate) fn body(&self) -> Body<'_> {
        Body {
            error: &self.detail,
            code: self.code,
            r#type: format!(
                "urn:birbnest:problem:{}",
                self.code.to_ascii_lowercase().replace('_', "-")
            ),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        }
    }

    /// The request cannot be understood or breaks a rule.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST").detail(detail)
    }

    /// The request is right, but what is there does not let it be carried out.
    pub(crate) fn unfit(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST")
            .detail(format!("{}; nothing was written", detail.as_ref()))
    }

    /// There is no entry.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND").detail("there is no entry under this key")
    }

    /// Nothing was done; trying again later may succeed.
    pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
            .detail(detail)
            .retry_after(1)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and a number cannot fail to serialize.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let content_type = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        )];
        let mut response = (self.status, content_type, body).into_response();
        if let Some(seconds) = self.retry_after {
            let name: HeaderName = header::RETRY_AFTER;
            response.headers_mut().insert(name, HeaderValue::from(seconds));
        }
        if self.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let Some(source) = self.cache_status {
            response.headers_mut().insert(CACHE_STATUS, source);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // How the client can say who it is (RFC 9110).
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}
