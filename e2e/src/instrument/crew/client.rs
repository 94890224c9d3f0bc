//! One request and its answer, as an operation of the history.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::Run;
use crate::{
    client::{Answer, ApiClient, Request},
    instrument::history::{Call, Operation, Outcome, value_of},
};

/// Every write of so many waits for PostgreSQL.
const PERSISTED: u64 = 10;

/// A client of several APIs that notes what it does.
#[derive(Clone, Debug)]
pub struct Instrumented {
    run: Run,
    apis: Vec<ApiClient>,
}

impl Instrumented {
    /// A client of these APIs.
    pub fn new(run: Run, apis: Vec<ApiClient>) -> Self {
        Self { run, apis }
    }

    /// A number for the next write.
    pub fn number(&self) -> u64 {
        self.run.number()
    }

    /// How many APIs there are.
    pub fn apis(&self) -> usize {
        self.apis.len()
    }

    /// Asks one of the APIs.
    ///
    /// # Panics
    /// When there is no such API.
    pub async fn ask(&self, api: usize, key: &str, call: Call) -> Operation {
        let Some(client) = self.apis.get(api) else {
            panic!("there is no api-{api}")
        };
        let request = request(client, key, call);
        let began = self.run.now();
        let answer = request.try_send().await;
        let ended = self.run.now();
        Operation {
            api,
            key: Arc::from(key),
            call,
            began,
            ended,
            outcome: outcome(key, call, answer),
        }
    }
}

fn request(client: &ApiClient, key: &str, call: Call) -> Request {
    match call {
        Call::Put { number, only_if } => {
            let body = json!({ "value": value_of(key, number) });
            let request = client.about(Method::PUT, key).json(&body);
            let request = if number.is_multiple_of(PERSISTED) {
                request.header("prefer", "durability=persisted")
            } else {
                request
            };
            match only_if {
                None => request,
                Some(0) => request.header("if-none-match", "*"),
                Some(version) => request.header("if-match", &format!("\"{version}\"")),
            }
        }
        Call::Delete => client.about(Method::DELETE, key),
        Call::Get { at_least: 0 } => client.about(Method::GET, key),
        Call::Get { at_least } => client
            .about(Method::GET, key)
            .header("birb-min-version", &at_least.to_string()),
    }
}

fn outcome(key: &str, call: Call, answer: reqwest::Result<Answer>) -> Outcome {
    let is_write = !matches!(call, Call::Get { .. });
    match answer {
        Ok(answer) => understood(key, call, &answer)
            .unwrap_or_else(|| Outcome::OutOfContract(format!("{} {}", answer.status, answer.text))),
        // Nobody was there to take it.
        Err(error) if error.is_connect() || !is_write => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// The answer as the API's documentation has it, `None` for another.
fn understood(key: &str, call: Call, answer: &Answer) -> Option<Outcome> {
    let partial = answer.header("cache-status").contains("detail=");
    match (call, answer.status.as_u16()) {
        (Call::Put { .. }, 201 | 202) => {
            let entry: Value = serde_json::from_str(&answer.text).ok()?;
            let (version, persisted) = (entry.get("version")?.as_u64()?, is_persisted(answer)?);
            (entry.get("key")? == key && is_tag(answer, version)).then_some(Outcome::Written {
                version: Some(version),
                fresh: answer.status == 201,
                persisted,
            })
        }
        (Call::Delete, 204) => Some(Outcome::Written {
            version: Some(answer.header("birb-version").parse().ok()?),
            fresh: false,
            persisted: is_persisted(answer)?,
        }),
        (Call::Get { .. }, 200) => {
            let entry: Value = serde_json::from_str(&answer.text).ok()?;
            let (version, value) = (entry.get("version")?.as_u64()?, entry.get("value")?.as_str()?);
            (entry.get("key")? == key && is_tag(answer, version)).then(|| Outcome::Found {
                version,
                value: value.to_owned(),
                partial,
            })
        }
        (Call::Get { .. } | Call::Delete, 404) => Some(Outcome::Absent { partial }),
        (Call::Put { only_if: Some(_), .. }, 412) => Some(Outcome::Mismatch),
        (Call::Get { .. }, 503) => Some(Outcome::Refused),
        (_, 503) => match answer.code().as_str() {
            "UNAVAILABLE" => Some(Outcome::Refused),
            "TIMEOUT" => Some(Outcome::Unknown),
            _ => None,
        },
        _ => None,
    }
}

/// Where an acknowledgement says that the write is safe; `None` when it does not say it.
fn is_persisted(answer: &Answer) -> Option<bool> {
    match answer.header("birb-durability") {
        "queued" => Some(false),
        "persisted" => Some(true),
        _ => None,
    }
}

fn is_tag(answer: &Answer, version: u64) -> bool {
    answer.header("etag") == format!("\"{version}\"")
}
