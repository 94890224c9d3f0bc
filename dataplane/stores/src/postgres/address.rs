//! Addresses of PostgreSQL as libpq writes them: with one host, or with all members of a replicated database.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

/// The parameter that says which member is wanted.
const WANTED: &str = "target_session_attrs";
/// What it may say; `any` is what libpq takes it for when it is missing.
const WRITERS: [&str; 3] = ["read-write", "primary", "any"];

/// Why an address cannot be used. Never shows the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAddress {
    /// It has no scheme.
    #[error("it does not start with postgres://")]
    Scheme,
    /// A comma too many.
    #[error("host {0} of {1} is empty")]
    EmptyHost(usize, usize),
    /// A standby is asked for.
    #[error("target_session_attrs is {0:?}, but only a member that accepts writes will do: read-write")]
    Standby(String),
    /// One of its parts.
    #[error("{0}")]
    Part(#[source] sqlx::Error),
}

/// As whom an address connects.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl FromStr for Login {
    type Err = InvalidAddress;

    fn from_str(address: &str) -> Result<Self, InvalidAddress> {
        let parsed: Address = address.parse()?;
        let (_, rest) = address.trim().split_once("://").ok_or(InvalidAddress::Scheme)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Ok(Self {
            user: parsed.members[0].get_username().to_owned(),
            password: login.split_once(':').map(|(_, password)| decoded(password)),
        })
    }
}

/// Where PostgreSQL is.
#[derive(Clone)]
pub(super) struct Address {
    /// How each host is reached, at least one.
    pub(super) members: Vec<PgConnectOptions>,
    /// Whether a member must be looked for that accepts writes. A single host is taken as it is, unless the address asks.
    pub(super) choose: bool,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(address: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = address.trim().split_once("://").ok_or(InvalidAddress::Scheme)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, wanted) = without_wanted(path);
        if let Some(other) = wanted
            .as_ref()
            .filter(|wanted| !WRITERS.contains(&wanted.as_str()))
        {
            return Err(InvalidAddress::Standby(other.clone()));
        }
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        if hosts.len() > 1
            && let Some(empty) = hosts.iter().position(|host| host.is_empty())
        {
            return Err(InvalidAddress::EmptyHost(empty + 1, hosts.len()));
        }
        let member = |host: &&str| {
            PgConnectOptions::from_str(&format!("{scheme}://{user}{host}{path}"))
                .map_err(InvalidAddress::Part)
        };
        Ok(Self {
            choose: hosts.len() > 1 || wanted.is_some_and(|wanted| wanted != "any"),
            members: hosts.iter().map(member).collect::<Result<_, _>>()?,
        })
    }
}

/// The rest of an address without the parameter that only libpq knows, and what it said.
fn without_wanted(path: &str) -> (String, Option<String>) {
    let Some((path, query)) = path.split_once('?') else {
        return (path.to_owned(), None);
    };
    let mut wanted = None;
    let mut others = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some((WANTED, value)) => wanted = Some(value.to_owned()),
            _ => others.push(parameter),
        }
    }
    (format!("{path}?{}", others.join("&")), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(address: &str) -> Vec<String> {
        let address: Address = address.parse().unwrap();
        let told = |member: &PgConnectOptions| {
            format!(
                "{}@{}:{}/{}",
                member.get_username(),
                member.get_host(),
                member.get_port(),
                member.get_database().unwrap_or_default()
            )
        };
        address.members.iter().map(told).collect()
    }

    fn refusal(address: &str) -> String {
        let refused = address.parse::<Address>().err();
        refused.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_host_is_reached_with_the_same_user_and_database() {
        assert_eq!(
            hosts(
                "postgres://u:p%2Cw@h1:5433,h2,[::1]:5434/db?target_session_attrs=read-write&sslmode=disable"
            ),
            ["u@h1:5433/db", "u@h2:5432/db", "u@[::1]:5434/db"]
        );
        assert_eq!(hosts("postgresql://u:a,b@h1/db"), ["u@h1:5432/db"]);
        assert_eq!(hosts("postgres://u@h1,h2?sslmode=disable\n").len(), 2);
    }

    #[test]
    fn a_single_host_is_taken_as_it_is_unless_the_address_asks() {
        let chooses = |address: &str| address.parse::<Address>().unwrap().choose;
        assert!(!chooses("postgres://u@h1/db"));
        assert!(!chooses("postgres://u@h1/db?target_session_attrs=any"));
        assert!(chooses("postgres://u@h1/db?target_session_attrs=primary"));
        assert!(chooses("postgres://u@h1,h2/db"));
    }

    #[test]
    fn a_login_is_what_stands_before_the_hosts() {
        let login: Login = "postgres://app:p%2Cw@h1,h2/db?sslmode=disable".parse().unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_deref()),
            ("app", Some("p,w"))
        );
        assert!(!format!("{login:?}").contains("p,w"));
        let without: Login = "postgres://app@h1/db".parse().unwrap();
        assert_eq!(without.password, None);
    }

    #[test]
    fn an_address_that_cannot_be_read_says_why_and_not_what_it_holds() {
        assert_eq!(refusal("postgres://u:secret@h1,,h2/db"), "host 2 of 3 is empty");
        assert!(refusal("u:secret@h1").contains("postgres://"));
        assert!(refusal("postgres://u:secret@h1/db?target_session_attrs=standby").contains("read-write"));
        for unreadable in [
            "postgres://u:secret@h1:x/db",
            "postgres://u:secret@h1,h2:99999/db",
        ] {
            let told = refusal(unreadable);
            assert!(told.contains("port") && !told.contains("secret"), "{told}");
        }
    }
}
