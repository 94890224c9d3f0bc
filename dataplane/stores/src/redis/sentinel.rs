//! The master of a Redis that fails over, as its sentinels name it.
//!
//! A majority must agree. A sentinel that a broken network has cut off together with the old master still names that one,
//! where copies stay old that others have replaced.

use std::{collections::HashMap, time::Duration};

use futures::future::join_all;
use percent_encoding::percent_decode_str;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, aio::MultiplexedConnection};

use super::place::{Access, host_and_port, scheme};

const SENTINEL_PORT: u16 = 26_379;
/// A sentinel that takes longer counts as away.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Why a connection may lead to an old master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Most of the sentinels name another one.
    Replaced,
    /// Too few of them answer, or they disagree: a failover may be under way.
    Unconfirmed,
}

/// The sentinels of one master.
#[derive(Debug)]
pub(super) struct Sentinels {
    members: Vec<Sentinel>,
    master: String,
    access: Access,
}

#[derive(Debug)]
struct Sentinel {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

impl Sentinels {
    /// Reads what follows `redis-sentinel://`; the scheme before it says whether everything goes over TLS.
    ///
    /// # Errors
    /// What is missing or wrong, without any password.
    pub(super) fn parse(before: &str, rest: &str) -> Result<Self, &'static str> {
        let scheme = scheme(before)
            .ok_or("the address of sentinels starts with redis-sentinel:// or rediss-sentinel://")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let master = query.get("master").filter(|name| !name.is_empty());
        let master =
            master.ok_or("the address of sentinels ends with ?master=NAME, the name they watch it under")?;
        let (authority, database) = place.split_once('/').unwrap_or((place, "0"));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let password = query.get("sentinelPassword");
        let members: Result<_, _> = hosts
            .split(',')
            .map(|host| Sentinel::at(scheme, password, host))
            .collect();
        let sentinels = Self {
            members: members?,
            master: percent_decode_str(master).decode_utf8_lossy().into_owned(),
            access: Access {
                scheme,
                user: user.to_owned(),
                database: database.to_owned(),
            },
        };
        // What cannot be read here could not be read after a failover either.
        let readable = sentinels.access.to("localhost", SENTINEL_PORT);
        readable.map_err(|_| "user, password or database in the address of the sentinels cannot be read")?;
        Ok(sentinels)
    }

    /// The master that most of them name.
    pub(super) async fn master(&mut self) -> Result<Client, RedisError> {
        let (host, port) = self.named().await.ok_or_else(|| {
            RedisError::from((
                ErrorKind::Io,
                "the sentinels name no master: most of them must answer and agree",
            ))
        })?;
        self.access.to(&host, port)
    }

    /// Whether most of them still name this server.
    pub(super) async fn doubt(&mut self, server: &Client) -> Option<Doubt> {
        let Some((host, port)) = self.named().await else {
            return Some(Doubt::Unconfirmed);
        };
        let named = self.access.to(&host, port).ok()?;
        let same = named.get_connection_info().addr() == server.get_connection_info().addr();
        (!same).then_some(Doubt::Replaced)
    }

    async fn named(&mut self) -> Option<(String, u16)> {
        let (most, master) = (self.members.len() / 2 + 1, &self.master);
        let answers = join_all(self.members.iter_mut().map(|sentinel| sentinel.ask(master))).await;
        agreed(answers.into_iter().flatten().collect(), most)
    }
}

impl Sentinel {
    fn at(scheme: &'static str, password: Option<&&str>, place: &str) -> Result<Self, &'static str> {
        let (host, port) = host_and_port(place, SENTINEL_PORT)
            .ok_or("sentinels are hosts with a port, separated by commas")?;
        let access = Access {
            scheme,
            user: password.map_or_else(String::new, |password| format!(":{password}")),
            database: String::new(),
        };
        let client = access.to(host, port);
        Ok(Self {
            client: client.map_err(|_| "the address of a sentinel cannot be read")?,
            connection: None,
        })
    }

    /// The master's host and port in the eyes of this one, `None` while it does not answer.
    async fn ask(&mut self, master: &str) -> Option<(String, u16)> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.named(master)).await;
        let answer = answer.unwrap_or_else(|_| Err((ErrorKind::Io, "the sentinel took too long").into()));
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "a sentinel does not answer");
                self.connection = None;
            })
            .ok()?
    }

    async fn named(&mut self, master: &str) -> Result<Option<(String, u16)>, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(
                self.client
                    .get_multiplexed_async_connection_with_config(&limits())
                    .await?,
            ),
        };
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name")
            .arg(master)
            .query_async(connection)
            .await
    }
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
}

/// What at least `most` of them say.
fn agreed(mut answers: Vec<(String, u16)>, most: usize) -> Option<(String, u16)> {
    answers.sort_unstable();
    let mut alike = answers.chunk_by(|a, b| a == b);
    alike.find(|alike| alike.len() >= most)?.first().cloned()
}

#[cfg(test)]
mod tests {
    use super::{super::place::place, *};

    fn parsed(rest: &str) -> Result<Sentinels, &'static str> {
        Sentinels::parse("redis", rest)
    }

    #[test]
    fn an_address_names_sentinels_and_what_the_masters_has_besides_its_place() {
        let sentinels = parsed("app:p%40ss@a:1,b,[::1]:3/2?master=prices&sentinelPassword=x").unwrap();
        let places: Vec<_> = sentinels
            .members
            .iter()
            .map(|member| place(&member.client))
            .collect();
        assert_eq!(places, ["a:1", "b:26379", "::1:3"]);
        assert_eq!(sentinels.master, "prices");
        let master = sentinels.access.to("10.0.0.7", 6379).unwrap();
        assert_eq!(place(&master), "10.0.0.7:6379");
        let settings = master.get_connection_info().redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("app"), Some("p@ss"), 2)
        );
    }

    #[test]
    fn what_is_missing_in_an_address_is_named() {
        for (rest, missing) in [
            ("a:26379/0", "?master=NAME"),
            ("a:26379?master=", "?master=NAME"),
            ("a:port?master=x", "with a port"),
            (",?master=x", "with a port"),
            ("a/x?master=x", "database"),
        ] {
            let error = parsed(rest).unwrap_err();
            assert!(error.contains(missing), "{rest}: {error}");
        }
        assert!(Sentinels::parse("http", "a?master=x").is_err());
    }

    #[test]
    fn a_master_needs_a_majority() {
        let (a, b) = (("a".to_owned(), 1), ("b".to_owned(), 1));
        assert_eq!(agreed(vec![a.clone(), b.clone(), a.clone()], 2), Some(a.clone()));
        assert_eq!(agreed(vec![a.clone(), b], 2), None);
        assert_eq!(agreed(vec![a], 2), None);
        assert_eq!(agreed(vec![], 1), None);
    }
}
