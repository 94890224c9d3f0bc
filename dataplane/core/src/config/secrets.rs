//! Addresses and passwords, which come from the environment and never from a file that is stored in the cluster.

use std::{env, fmt};

/// The addresses of the backends, which may carry passwords: the `Debug` form shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// `BIRBNEST_REDIS_URL`, such as `redis://:password@host:6379/0`,
    /// `redis-sentinel://:password@host:26379,host:26379/0?master=NAME` or `redis-cluster://:password@host:6379,host:6379`.
    pub redis_url: String,
    /// `BIRBNEST_NATS_URL`, such as `nats://user:password@host:4222`; several are separated by commas.
    pub nats_url: String,
    /// `BIRBNEST_POSTGRES_URL`, such as `postgres://user:password@host:5432/database`; several hosts are separated by
    /// commas.
    pub postgres_url: String,
    /// `BIRBNEST_POSTGRES_OWNER_URL`, the same with the role that owns the schema, for the migration alone; none: the role of
    /// `BIRBNEST_POSTGRES_URL` owns it.
    pub postgres_owner_url: Option<String>,
}

/// An environment variable that is missing or empty.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {0} is not set: it holds the address of a backend")]
pub struct MissingSecret(&'static str);

impl Secrets {
    /// Reads the addresses.
    ///
    /// # Errors
    /// Names the first variable that is missing or empty.
    pub fn from_env() -> Result<Self, MissingSecret> {
        Ok(Self {
            redis_url: required("BIRBNEST_REDIS_URL")?,
            nats_url: required("BIRBNEST_NATS_URL")?,
            postgres_url: required("BIRBNEST_POSTGRES_URL")?,
            postgres_owner_url: optional("BIRBNEST_POSTGRES_OWNER_URL"),
        })
    }

    /// The address with the role that owns the schema.
    pub fn owner_url(&self) -> &str {
        self.postgres_owner_url.as_ref().unwrap_or(&self.postgres_url)
    }
}

fn required(name: &'static str) -> Result<String, MissingSecret> {
    optional(name).ok_or(MissingSecret(name))
}

fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}
