//! A way to the API server on which a story decides what becomes of each request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, future};
use kube::Client;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};

use crate::wait::{eventually_within, seen};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out and answered.
    Pass,
    /// It is carried out, and nobody is ever told: see [`Door::until_unanswered`].
    Unanswered,
    /// It is refused as the API server would.
    Refuse(StatusCode),
}

/// Decides about a write by its number, beginning with 1 when the judge comes.
type Judge = Box<dyn Fn(u64) -> Verdict + Send>;

/// The door, which ends with the test.
#[derive(Clone)]
pub struct Door(Arc<Inside>);

struct Inside {
    address: SocketAddr,
    client: Client,
    judge: Mutex<(Judge, u64)>,
    requests: AtomicU64,
    refuses_leases: Mutex<Option<StatusCode>>,
    unanswered: Notify,
    /// How often the watches of the time fell silent.
    hushed: watch::Sender<u64>,
}

impl Door {
    /// A door to the API server that lets everything pass, as the client's user.
    ///
    /// # Panics
    /// When nothing can listen on loopback.
    pub async fn open(client: Client) -> Self {
        let listening = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            std::io::Result::Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = listening
            .await
            .unwrap_or_else(|error| panic!("a door on loopback: {error}"));
        let door = Self(Arc::new(Inside {
            address,
            client,
            judge: Mutex::new((Box::new(|_| Verdict::Pass), 0)),
            requests: AtomicU64::new(0),
            refuses_leases: Mutex::default(),
            unanswered: Notify::new(),
            hushed: watch::channel(0).0,
        }));
        let router = Router::new().fallback(pass).with_state(door.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        door
    }

    /// Where it is, in plain HTTP.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Has this judge decide about each write from now on, other than those of Leases and events.
    pub fn judge(&self, judge: impl Fn(u64) -> Verdict + Send + 'static) {
        *self.judging() = (Box::new(judge), 0);
    }

    /// Refuses every request about a Lease from now on.
    pub fn refuse_leases(&self, code: StatusCode) {
        *lock(&self.0.refuses_leases) = Some(code);
    }

    /// Requests so far, of every kind.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Writes that this judge has judged so far.
    pub fn writes(&self) -> u64 {
        self.judging().1
    }

    /// Waits until there were fewer requests than this in so much time.
    ///
    /// # Panics
    /// When it does not come to rest.
    pub async fn until_at_rest(&self, time: Duration, fewer_than: u64) {
        let asked = eventually_within(time * 6, "it comes to rest", || async {
            let before = self.requests();
            tokio::time::sleep(time).await;
            seen(self.requests() - before, |asked| *asked < fewer_than)
        })
        .await;
        eprintln!("{asked} requests in {time:?} at rest");
    }

    /// Waits until a write was carried out that nobody is told of.
    pub async fn until_unanswered(&self) {
        self.0.unanswered.notified().await;
    }

    /// Lets nothing more through on the watches that are open now, though they stay open. Those that come are heard.
    pub fn hush_watches(&self) {
        self.0.hushed.send_modify(|times| *times += 1);
    }

    fn verdict(&self, request: &Request) -> Verdict {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let about = |resource: &str| request.uri().path().contains(resource);
        if let Some(code) = *lock(&self.0.refuses_leases)
            && about("/leases")
        {
            return Verdict::Refuse(code);
        }
        if request.method() == Method::GET || about("/leases") || about("/events") {
            return Verdict::Pass;
        }
        let (judge, judged) = &mut *self.judging();
        *judged += 1;
        judge(*judged)
    }

    fn judging(&self) -> MutexGuard<'_, (Judge, u64)> {
        lock(&self.0.judge)
    }

    async fn forward(&self, mut request: Request) -> Response {
        // The client has its own connection and its own idea of where it leads.
        for name in [header::HOST, header::CONNECTION] {
            request.headers_mut().remove(name);
        }
        let (head, body) = request.into_parts();
        let body = match axum::body::to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        let request = Request::from_parts(head, kube::client::Body::from(body));
        match self.0.client.send(request).await {
            Ok(answer) if is_watch => answer.map(|body| self.until_hushed(Body::new(body))),
            Ok(answer) => answer.map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }

    /// The body up to the next hush, and then nothing for ever.
    fn until_hushed(&self, body: Body) -> Body {
        let mut hushed = self.0.hushed.subscribe();
        let hush = async move {
            let _ended = hushed.changed().await;
        };
        let heard = body.into_data_stream().take_until(hush);
        // The hush takes the stream's end away as well.
        Body::from_stream(heard.chain(futures::stream::once(future::pending())))
    }
}

/// A panic elsewhere leaves what is locked whole: each change is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(State(door): State<Door>, request: Request) -> Response {
    match door.verdict(&request) {
        Verdict::Pass => door.forward(request).await,
        Verdict::Unanswered => {
            door.forward(request).await;
            door.0.unanswered.notify_one();
            std::future::pending().await
        }
        Verdict::Refuse(code) => refused(code),
    }
}

fn refused(code: StatusCode) -> Response {
    let reason = match code {
        StatusCode::CONFLICT => "Conflict",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": "refused by the story",
        "reason": reason,
        "code": code.as_u16(),
    });
    let mut answer = (code, Json(status)).into_response();
    if code == StatusCode::TOO_MANY_REQUESTS {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
