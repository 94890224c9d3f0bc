//! One request for messages of a consumer, until everything that the server gave out for it has come.
//!
//! The client library ends a request with the first status that the server sends. A consumer with replicas sends its
//! messages only after a majority has noted the delivery, and so often behind the status: they would come to nobody, and
//! again only after `ack_wait`. The status says how many were not given out; the others are waited for.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

/// Header of a status: how many messages of the request were not given out.
const NOT_GIVEN_OUT: &str = "Nats-Pending-Messages";
/// How long a message may be on its way behind the end of its request.
const LATE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Messages, at most.
    pub(crate) batch: usize,
    /// Bytes, at most; 0 for no bound.
    pub(crate) max_bytes: usize,
    /// How long the server collects.
    pub(crate) expires: Duration,
}

/// A request that was sent.
pub(crate) struct Pull {
    answers: Subscriber,
    asked: usize,
    received: usize,
    /// Messages that come, as far as that is known.
    owed: usize,
    /// How long the next answer may take.
    patience: Duration,
    ended: bool,
}

impl Request {
    /// Sends it; an answer may take `margin` longer than the server collects.
    ///
    /// # Errors
    /// Says why it cannot be sent.
    pub(crate) async fn send(
        self,
        client: &Client,
        stream: &str,
        consumer: &str,
        margin: Duration,
    ) -> Result<Pull, String> {
        let inbox = client.new_inbox();
        let answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| error.to_string())?;
        let nanos = u64::try_from(self.expires.as_nanos()).unwrap_or(u64::MAX);
        let payload =
            json!({ "batch": self.batch, "max_bytes": self.max_bytes, "expires": nanos }).to_string();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let sent = client.publish_with_reply(subject, inbox, payload.into()).await;
        sent.map_err(|error| error.to_string())?;
        Ok(Pull {
            answers,
            asked: self.batch,
            received: 0,
            owed: self.batch,
            patience: self.expires + margin,
            ended: false,
        })
    }
}

impl Pull {
    /// The next message, `None` when no more will come.
    ///
    /// # Errors
    /// When the consumer is gone or moved, or there is no answer at all. What has come before is as good as ever.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, String> {
        while self.received < self.owed {
            let Ok(Some(answer)) = timeout(self.patience, self.answers.next()).await else {
                return if self.ended {
                    Ok(None)
                } else {
                    Err("no answer".to_owned())
                };
            };
            match answer.status {
                None | Some(StatusCode::OK) => {
                    self.received += 1;
                    return Ok(Some(answer));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(status) => self.end(status, &answer)?,
            }
        }
        Ok(None)
    }

    fn end(&mut self, status: StatusCode, answer: &Message) -> Result<(), String> {
        let Some(left) = answer.headers.as_ref().and_then(not_given_out) else {
            let why = answer.description.as_deref().unwrap_or("no reason given");
            return Err(format!("{status} {why}"));
        };
        self.ended = true;
        self.owed = self.asked.saturating_sub(left);
        self.patience = LATE;
        Ok(())
    }
}

fn not_given_out(headers: &HeaderMap) -> Option<usize> {
    headers.get(NOT_GIVEN_OUT)?.as_str().parse().ok()
}
