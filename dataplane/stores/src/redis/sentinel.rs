//! The master of a Redis that fails over, as its sentinels name it.
//!
//! A majority must answer, and of their answers the one of the latest configuration counts. A sentinel that a broken network
//! has cut off together with the old master still names that one, where copies stay old that others have replaced; so do
//! for two seconds after a failover those that did not lead it. While one leads it, nobody is named: the old master may be
//! back already, empty, and take writes.

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
    /// The sentinels name another one.
    Replaced,
    /// Too few of them answer, or a failover is under way.
    Unconfirmed,
}

/// The sentinels of one master.
#[derive(Debug)]
pub(super) struct Sentinels {
    members: Vec<Sentinel>,
    master: String,
    access: Access,
}

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    place: (String, u16),
    /// The number of the configuration: each failover has a higher one, for which a majority has voted.
    epoch: u64,
    is_failing_over: bool,
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

    /// The master that they name.
    pub(super) async fn master(&mut self) -> Result<Client, RedisError> {
        let (host, port) = self.named().await.ok_or_else(|| {
            RedisError::from((
                ErrorKind::Io,
                "the sentinels name no master: most of them must answer, and none be failing over",
            ))
        })?;
        self.access.to(&host, port)
    }

    /// Whether they still name this server.
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
        latest(answers.into_iter().flatten().collect(), most)
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

    /// The master in the eyes of this one, `None` while it does not answer.
    async fn ask(&mut self, master: &str) -> Option<Named> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.named(master)).await;
        let answer = answer.unwrap_or_else(|_| Err((ErrorKind::Io, "the sentinel took too long").into()));
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "a sentinel does not answer");
                self.connection = None;
            })
            .ok()?
    }

    async fn named(&mut self, master: &str) -> Result<Option<Named>, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(
                self.client
                    .get_multiplexed_async_connection_with_config(&limits())
                    .await?,
            ),
        };
        let mut ask = redis::pipe();
        ask.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        ask.cmd("SENTINEL").arg("master").arg(master);
        let (place, state): (Option<(String, u16)>, HashMap<String, String>) =
            ask.query_async(connection).await?;
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        let flags = state.get("flags").map_or("", String::as_str);
        Ok(place.map(|place| Named {
            place,
            epoch: epoch.unwrap_or_default(),
            is_failing_over: flags.split(',').any(|flag| flag == "failover_in_progress"),
        }))
    }
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
}

/// What the latest of at least `most` answers says.
fn latest(answers: Vec<Named>, most: usize) -> Option<(String, u16)> {
    if answers.len() < most || answers.iter().any(|answer| answer.is_failing_over) {
        return None;
    }
    let latest = answers.into_iter().max_by_key(|answer| answer.epoch)?;
    Some(latest.place)
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

    fn named(host: &str, epoch: u64) -> Named {
        Named {
            place: (host.to_owned(), 1),
            epoch,
            is_failing_over: false,
        }
    }

    fn host(answers: &[Named]) -> Option<String> {
        latest(answers.to_vec(), 2).map(|(host, _)| host)
    }

    #[test]
    fn a_majority_must_answer_and_the_latest_failover_counts() {
        let (before, after) = (named("a", 1), named("b", 2));
        assert_eq!(host(&[before.clone(), before.clone()]), Some("a".to_owned()));
        // The others hear of it later.
        let told = [before.clone(), after.clone(), before.clone()];
        assert_eq!(host(&told), Some("b".to_owned()));
        assert_eq!(host(&[after]), None);
        assert_eq!(host(&[]), None);
    }

    #[test]
    fn nobody_is_the_master_while_one_of_them_leads_a_failover() {
        let leader = Named {
            is_failing_over: true,
            ..named("a", 1)
        };
        assert_eq!(host(&[named("a", 1), leader, named("a", 1)]), None);
    }
}
