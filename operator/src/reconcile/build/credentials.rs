//! Passwords of the managed backends, and the addresses that hold them.
//!
//! Passwords are random, so the plan says only which there should be. They are made once and kept: the volume of a
//! managed PostgreSQL remembers the one it was created with. For the same reason the Secret has to live as long as the
//! volumes do, beyond the nest when its data is retained: it gets no owner reference and is no orphan when it is not in
//! a plan.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::reconcile::validate::{Component, NestId, ValidNest};

/// The Secret that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    id: NestId,
    logins: Vec<Login>,
}

impl Credentials {
    /// None when no backend is managed.
    pub(super) fn of(nest: &ValidNest) -> Option<Self> {
        let postgres = nest.backends.postgres.is_managed();
        let managed = [
            (Login::Redis, nest.backends.redis.is_managed()),
            (Login::Nats, nest.backends.nats.is_managed()),
            (Login::PostgresOwner, postgres),
            (Login::PostgresApp, postgres),
        ];
        let logins: Vec<_> = managed
            .into_iter()
            .filter(|(_, managed)| *managed)
            .map(|(login, _)| login)
            .collect();
        (!logins.is_empty()).then(|| Self {
            id: nest.id.clone(),
            logins,
        })
    }

    /// The Secret's name.
    pub fn name(&self) -> String {
        self.id.credentials()
    }

    /// The Secret to write, whole, or none when the one that was found has everything. What it has is kept; what it lacks
    /// is made from `password`, which must give letters and digits only, since they become part of addresses.
    pub fn complete(&self, found: Option<&Secret>, mut password: impl FnMut() -> String) -> Option<Secret> {
        let kept = found.and_then(|secret| secret.data.clone()).unwrap_or_default();
        let mut data = kept.clone();
        for login in &self.logins {
            self.fill(*login, &mut data, &mut password);
        }
        (found.is_none() || data != kept).then(|| Secret {
            metadata: metadata::of(&self.id, Component::Credentials),
            data: Some(data),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        })
    }

    /// A password without its address, or the other way round, is a half-written pair: both are written anew only when
    /// the password is missing.
    fn fill(
        &self,
        login: Login,
        data: &mut BTreeMap<String, ByteString>,
        password: &mut impl FnMut() -> String,
    ) {
        let (password_key, url_key) = (login.password_key(), login.url_key());
        if data.contains_key(&password_key) && data.contains_key(&url_key) {
            return;
        }
        let chosen = match data.get(&password_key) {
            Some(kept) => String::from_utf8_lossy(&kept.0).into_owned(),
            None => password(),
        };
        let url = login.url(&self.id, &chosen);
        data.insert(password_key, ByteString(chosen.into_bytes()));
        data.insert(url_key, ByteString(url.into_bytes()));
    }
}

/// The user that NATS asks for.
pub(super) const NATS_USER: &str = "birbnest";
/// The database of a managed PostgreSQL, and the user that owns it.
pub(super) const POSTGRES_DATABASE: &str = "birbnest";

/// The role of API and workers in it, which reads and writes rows and nothing else.
const POSTGRES_APP: &str = "birbnest_app";

/// As whom somebody connects to a managed backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Redis,
    Nats,
    /// Owns the tables.
    PostgresOwner,
    PostgresApp,
}

impl Login {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::PostgresOwner => "postgres",
            Self::PostgresApp => "postgres-app",
        }
    }

    /// The key of its password.
    pub(super) fn password_key(self) -> String {
        format!("{}-password", self.prefix())
    }

    /// The key of its address.
    pub(super) fn url_key(self) -> String {
        format!("{}-url", self.prefix())
    }

    fn url(self, id: &NestId, password: &str) -> String {
        let postgres = |user: &str| {
            let host = id.host(Component::Postgres);
            format!("postgres://{user}:{password}@{host}:5432/{POSTGRES_DATABASE}")
        };
        match self {
            Self::Redis => format!("redis://default:{password}@{}:6379/0", id.host(Component::Redis)),
            Self::Nats => format!("nats://{NATS_USER}:{password}@{}:4222", id.host(Component::Nats)),
            Self::PostgresOwner => postgres(POSTGRES_DATABASE),
            Self::PostgresApp => postgres(POSTGRES_APP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures::{managed, valid};

    fn counted() -> impl FnMut() -> String {
        let mut count = 0;
        move || {
            count += 1;
            format!("random{count}")
        }
    }

    fn text(secret: &Secret, key: &str) -> String {
        String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
    }

    #[test]
    fn each_managed_backend_gets_a_password_and_an_address() {
        let credentials = Credentials::of(&valid(&managed())).unwrap();
        let secret = credentials.complete(None, counted()).unwrap();
        assert_eq!(
            text(&secret, "redis-url"),
            "redis://default:random1@prices-redis.shop.svc:6379/0"
        );
        assert_eq!(
            text(&secret, "nats-url"),
            "nats://birbnest:random2@prices-nats.shop.svc:4222"
        );
        assert_eq!(
            text(&secret, "postgres-url"),
            "postgres://birbnest:random3@prices-postgres.shop.svc:5432/birbnest"
        );
        assert_eq!(text(&secret, "postgres-password"), "random3");
        assert_eq!(
            text(&secret, "postgres-app-url"),
            "postgres://birbnest_app:random4@prices-postgres.shop.svc:5432/birbnest"
        );
    }

    #[test]
    fn passwords_are_made_once() {
        let credentials = Credentials::of(&valid(&managed())).unwrap();
        let secret = credentials.complete(None, counted()).unwrap();
        assert_eq!(
            credentials.complete(Some(&secret), || panic!("asked for another password")),
            None
        );
    }

    #[test]
    fn what_is_missing_is_added_and_the_rest_kept() {
        let credentials = Credentials::of(&valid(&managed())).unwrap();
        let mut secret = credentials.complete(None, counted()).unwrap();
        let data = secret.data.as_mut().unwrap();
        data.remove("nats-password");
        data.remove("postgres-url");
        let mended = credentials
            .complete(Some(&secret), || "fresh".to_owned())
            .unwrap();
        assert_eq!(
            text(&mended, "nats-url"),
            "nats://birbnest:fresh@prices-nats.shop.svc:4222"
        );
        assert_eq!(text(&mended, "postgres-password"), "random3");
        assert!(text(&mended, "postgres-url").contains(":random3@"));
        assert_eq!(text(&mended, "redis-password"), "random1");
    }
}
