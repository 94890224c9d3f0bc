//! What the backends of a nest promise, as they say themselves. Asked now and then: it changes when an administrator changes
//! it, and nothing tells.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use birbnest_core::config::PostgresConfig;
use birbnest_stores::{postgres::PostgresPosture, redis::RedisMemory};
use tokio::time::timeout;

use crate::reconcile::{Digest, NestId};

/// An answer is good for so long: a reconciliation that has nothing to do comes a minute after the one before.
const FRESH: Duration = Duration::from_secs(20);
/// How long a backend may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What a backend said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// The last that it said. Silence takes nothing back: one that has no connections left has not got more.
    pub told: Option<T>,
    /// Why there is nothing newer.
    pub silent: Option<String>,
}

impl<T> Answer<T> {
    fn after(before: Option<&Self>, now: Result<T, String>) -> Self
    where
        T: Clone,
    {
        match now {
            Ok(told) => Self {
                told: Some(told),
                silent: None,
            },
            Err(silent) => Self {
                told: before.and_then(|before| before.told.clone()),
                silent: Some(silent),
            },
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Nothing where the operator runs PostgreSQL itself, and so knows.
    pub postgres: Option<Answer<PostgresPosture>>,
    /// Nothing where the operator runs Redis itself, or where it is a cluster.
    pub redis: Option<Answer<RedisMemory>>,
}

/// The last answers about each nest.
#[derive(Default)]
pub struct Postures(Mutex<HashMap<NestId, Known>>);

struct Known {
    of: Digest,
    since: Instant,
    facts: Arc<Facts>,
}

impl Postures {
    /// What the backends at these addresses promise. The addresses are those of the backends that the operator does not run.
    pub async fn of(
        &self,
        nest: &NestId,
        postgres: Option<&str>,
        redis: Option<&str>,
        config: &PostgresConfig,
    ) -> Arc<Facts> {
        let of = Digest::of(format!("{postgres:?} {redis:?}").as_bytes());
        let before = match self.lock().get(nest) {
            Some(known) if known.of == of && known.since.elapsed() < FRESH => {
                return Arc::clone(&known.facts);
            }
            Some(known) if known.of == of => Arc::clone(&known.facts),
            _ => Arc::default(),
        };
        // Not under the lock: one that does not answer must not hold up the other nests.
        let (postgres, redis) = tokio::join!(ask_postgres(postgres, config), ask_redis(redis));
        let facts = Arc::new(Facts {
            postgres: postgres.map(|now| Answer::after(before.postgres.as_ref(), now)),
            redis: redis.map(|now| Answer::after(before.redis.as_ref(), now)),
        });
        let known = Known {
            of,
            since: Instant::now(),
            facts: Arc::clone(&facts),
        };
        self.lock().insert(nest.clone(), known);
        facts
    }

    /// The nest is gone.
    pub fn forget(&self, nest: &NestId) {
        self.lock().remove(nest);
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<NestId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask_postgres(url: Option<&str>, config: &PostgresConfig) -> Option<Result<PostgresPosture, String>> {
    let asked = PostgresPosture::ask(url?, "birbnest-operator", config);
    Some(in_time(asked).await)
}

async fn ask_redis(url: Option<&str>) -> Option<Result<RedisMemory, String>> {
    in_time(RedisMemory::ask(url?, ANSWER_WITHIN)).await.transpose()
}

async fn in_time<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_takes_nothing_back() {
        let first = Answer::after(None, Ok(7));
        assert_eq!((first.told, &first.silent), (Some(7), &None));
        let silent = Answer::after(Some(&first), Err("too many clients".to_owned()));
        assert_eq!(
            (silent.told, silent.silent.as_deref()),
            (Some(7), Some("too many clients"))
        );
        let again = Answer::after(Some(&silent), Ok(8));
        assert_eq!((again.told, again.silent), (Some(8), None));
        assert_eq!(Answer::<u8>::after(None, Err("away".to_owned())).told, None);
    }
}
