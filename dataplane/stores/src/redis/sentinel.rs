//! The master of a Redis that fails over, as its sentinels name it, and since when.
//!
//! Two can be masters at once: sentinels that cannot reach the master make another one, while clients may reach both. So
//! nobody uses a master while somebody else may use the one before:
//!
//! - A master begins to reign when most sentinels have been heard to name it, with the number of the failover that made it
//!   one. Whoever asks most of them from then on hears from at least one who knows, and leaves the one before.
//! - What they say is good for [`GOOD_FOR`] after they were asked, and then asked again. Without an answer the master counts
//!   as lost.
//! - So it is used only when its reign has lasted that long. Until then there is no Redis: reads use the sources, and writes
//!   say that other readers may not see them yet.
//!
//! The number of the failover is a part of the master's life: when it becomes the master again after others were, its copies
//! are void, even if it never heard of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use percent_encoding::percent_decode_str;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, aio::MultiplexedConnection};

use super::{
    place::{Access, host_and_port, scheme},
    server::Current,
};

const SENTINEL_PORT: u16 = 26_379;
/// A sentinel that takes longer counts as away.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How long their word is good: they are asked every second, so two looks may fail.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(4);

/// What sentinels say of a master that they have named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is still the one; good for [`GOOD_FOR`] from this moment on.
    Good(Instant),
    /// There was another failover.
    Replaced,
    /// Too few of them agree.
    Doubt,
}

/// A server that became the master by a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reign {
    place: (String, u16),
    /// The number of the failover: each has a higher one, for which a majority has voted.
    pub(super) epoch: u64,
}

/// The sentinels of one master.
#[derive(Debug)]
pub(super) struct Sentinels {
    members: Vec<Sentinel>,
    master: String,
    access: Access,
    /// The last reign that most of them named, and when the first of these answers were there.
    latest: Option<(Reign, Instant)>,
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
            latest: None,
        };
        // What cannot be read here could not be read after a failover either.
        let readable = sentinels.access.to("localhost", SENTINEL_PORT);
        readable.map_err(|_| "user, password or database in the address of the sentinels cannot be read")?;
        Ok(sentinels)
    }

    /// The master that they name, though somebody may still use the one before.
    pub(super) async fn named(&mut self) -> Result<Client, RedisError> {
        let reign = self.agreed().await?;
        self.client_of(&reign)
    }

    /// The master, once nobody can use the one before any more.
    pub(super) async fn current(&mut self) -> Result<Current, RedisError> {
        let asked = Instant::now();
        let reign = self.agreed().await?;
        let since = match &self.latest {
            Some((latest, since)) if *latest == reign => *since,
            // Not when they were asked: somebody else may have asked meanwhile, and heard of the one before.
            _ => self.latest.insert((reign.clone(), Instant::now())).1,
        };
        if since.elapsed() < GOOD_FOR {
            return Err((
                ErrorKind::Io,
                "the sentinels name another master, which is used when nobody can use the one before any more",
            )
                .into());
        }
        Ok(Current {
            client: self.client_of(&reign)?,
            reign: Some((reign, asked)),
        })
    }

    async fn agreed(&mut self) -> Result<Reign, RedisError> {
        let (answers, most) = (self.ask().await, self.most());
        let reign = agreed(&answers, most).cloned();
        reign.ok_or_else(|| (ErrorKind::Io, "too few sentinels answer and name the same master").into())
    }

    fn client_of(&self, reign: &Reign) -> Result<Client, RedisError> {
        let (host, port) = &reign.place;
        self.access.to(host, *port)
    }

    /// Whether it is still the master.
    pub(super) async fn word(&mut self, reign: &Reign) -> Word {
        let asked = Instant::now();
        let (answers, most) = (self.ask().await, self.most());
        if answers.iter().any(|answer| answer.epoch > reign.epoch) {
            Word::Replaced
        } else if agreed(&answers, most) == Some(reign) {
            Word::Good(asked)
        } else {
            Word::Doubt
        }
    }

    fn most(&self) -> usize {
        self.members.len() / 2 + 1
    }

    async fn ask(&mut self) -> Vec<Reign> {
        let master = &self.master;
        let answers = join_all(self.members.iter_mut().map(|sentinel| sentinel.ask(master))).await;
        answers.into_iter().flatten().collect()
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
    async fn ask(&mut self, master: &str) -> Option<Reign> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.named(master)).await;
        let answer = answer.unwrap_or_else(|_| Err((ErrorKind::Io, "the sentinel took too long").into()));
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "a sentinel does not answer");
                self.connection = None;
            })
            .ok()?
    }

    async fn named(&mut self, master: &str) -> Result<Option<Reign>, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(
                self.client
                    .get_multiplexed_async_connection_with_config(&limits())
                    .await?,
            ),
        };
        let mut ask = redis::pipe();
        // In this order: a failover in between makes the number too low, which is found out, and never too high.
        ask.cmd("SENTINEL").arg("master").arg(master);
        ask.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        let (state, place): (HashMap<String, String>, Option<(String, u16)>) =
            ask.query_async(connection).await?;
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        Ok(place.map(|place| Reign {
            place,
            epoch: epoch.unwrap_or_default(),
        }))
    }
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
}

/// The latest reign, if at least `most` speak of it.
fn agreed(answers: &[Reign], most: usize) -> Option<&Reign> {
    let latest = answers.iter().max_by_key(|answer| answer.epoch)?;
    let speak_of_it = answers.iter().filter(|answer| *answer == latest).count();
    (speak_of_it >= most).then_some(latest)
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

    fn reign(host: &str, epoch: u64) -> Reign {
        Reign {
            place: (host.to_owned(), 1),
            epoch,
        }
    }

    #[test]
    fn a_reign_begins_when_most_speak_of_it() {
        let (before, after) = (reign("a", 1), reign("b", 2));
        let all = |told: [&Reign; 3]| agreed(&told.map(Clone::clone), 2).cloned();
        assert_eq!(all([&before; 3]), Some(before.clone()));
        assert_eq!(
            all([&before, &after, &before]),
            None,
            "the others hear of it later"
        );
        assert_eq!(all([&before, &after, &after]), Some(after.clone()));
        assert_eq!(agreed(&[after], 2), None);
        assert_eq!(agreed(&[], 2), None);
    }

    #[test]
    fn a_master_that_comes_back_begins_another_reign() {
        let (first, third) = (reign("a", 1), reign("a", 3));
        assert_eq!(agreed(&[first.clone(), third.clone()], 2), None);
        assert_eq!(agreed(&[third.clone(), first, third.clone()], 2), Some(&third));
    }
}
