//! A node that is asked for its view of the cluster, and the connection over which it is also used if it is a master.

use std::{sync::Arc, time::Duration};

use redis::{Client, ErrorKind, InfoDict, RedisError, aio::MultiplexedConnection};

use super::{
    super::{
        connection::{ask_identity, master_life, open},
        masters::Session,
        place::place,
    },
    view::{Node, View},
};

/// A node that takes longer counts as away.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A node and how it answered last.
#[derive(Debug)]
pub(super) struct Member {
    client: Client,
    /// The address names it, so it is asked for ever.
    pub(super) is_of_the_address: bool,
    connection: Option<MultiplexedConnection>,
    /// While it answers as a master.
    session: Option<Arc<Session>>,
    /// What it said of itself and the others.
    view: Option<View>,
    /// Why it said nothing.
    failure: Option<String>,
}

impl Member {
    pub(super) fn new(client: Client, is_of_the_address: bool) -> Self {
        Self {
            client,
            is_of_the_address,
            connection: None,
            session: None,
            view: None,
            failure: None,
        }
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Which node this is, as it says itself.
    pub(super) fn node(&self) -> Option<&Node> {
        self.view.as_ref()?.asked()
    }

    /// Why it did not answer, if it did not. Holds no secret.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The connection for requests.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// Asks it for its view, and whether it still lives the same life as a master. Whoever does not answer is given up.
    pub(super) async fn ask(&mut self, response_timeout: Duration) {
        if self.session.as_ref().is_some_and(|session| session.is_lost()) {
            self.connection = None;
        }
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.answer(response_timeout)).await;
        let answer = answer.unwrap_or_else(|_| Err((ErrorKind::Io, "the node took too long").into()));
        self.failure = answer.err().map(|error| error.to_string());
        if let Some(error) = &self.failure {
            tracing::debug!(
                error,
                node = place(&self.client),
                "a node of the redis cluster does not answer"
            );
            self.connection = None;
            self.view = None;
            self.become_session(None);
        }
    }

    async fn answer(&mut self, response_timeout: Duration) -> Result<(), RedisError> {
        let mut connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => open(&self.client, response_timeout).await?,
        };
        let mut ask = redis::pipe();
        ask_identity(&mut ask);
        ask.cmd("CLUSTER").arg("NODES");
        let answer: (InfoDict, InfoDict, String) = ask.query_async(&mut connection).await?;
        let (process, replication, nodes) = answer;
        self.view = Some(View::parse(&nodes));
        let life = master_life(&process, &replication);
        let is_same = |session: &Arc<Session>| !session.is_lost() && Some(session.life) == life;
        if !self.session.as_ref().is_some_and(is_same) {
            let new = life.map(|life| Session::new(connection.clone(), life));
            self.become_session(new);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Whoever holds the session of before must not use it any more.
    fn become_session(&mut self, session: Option<Session>) {
        if let Some(before) = std::mem::replace(&mut self.session, session.map(Arc::new)) {
            before.give_up();
        }
    }
}
