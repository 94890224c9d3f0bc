//! A Redis Cluster: several masters, each with some of the 16,384 hash slots of the keys.
//!
//! There is a connection to each master, and a copy is judged by the life of the master that it was read from, so that
//! nothing needs to be known of how it came there:
//!
//! - **A replica takes over.** It is another process with another replication id: none of the copies that it inherited is
//!   of its life.
//! - **A slot moves.** Its copies bear the life of the master they came from: at the new one they are void.
//! - **It comes back.** Then they count again, which is right: every write and every worker's removal in between was told
//!   the other master, where it deleted or replaced whatever was there. One that could not be told raised the counter.
//! - **A master sleeps or is cut off** while its replica takes over. Copies that others have replaced are old there, so it
//!   is left as soon as most masters name another, or fail to confirm it for some seconds, and found again only when they
//!   name it. A master that has lost sight of the others stops by itself after `cluster-node-timeout`.
//!
//! A request follows no redirection: the cluster refuses whatever does not belong where it was sent, and the key is then
//! without a cache until the next look. Only what removes old copies follows a slot on the move, see `super::told`.

mod look;
mod member;
mod slot;
mod view;
mod vote;

use std::{collections::BTreeMap, sync::Weak, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    connection::PROBE_INTERVAL,
    masters::Shared,
    place::{Access, host_and_port, place, scheme},
};
use crate::Connectivity;
use member::Member;

pub(super) use slot::{SLOTS, slot_of};

const REDIS_PORT: u16 = 6379;
/// Between two looks, however many requests fail.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The nodes of a cluster that are asked.
#[derive(Debug)]
pub(super) struct Cluster {
    /// By place: those of the address, and the masters that they name.
    members: BTreeMap<String, Member>,
    access: Access,
    /// Since when most masters do not say of every slot who has it.
    unconfirmed: Option<Instant>,
}

impl Cluster {
    /// Reads what follows `redis-cluster://`; the scheme before it says whether everything goes over TLS.
    ///
    /// # Errors
    /// What is missing or wrong, without any password.
    pub(super) fn parse(before: &str, rest: &str) -> Result<Self, &'static str> {
        let scheme = scheme(before)
            .ok_or("the address of a cluster starts with redis-cluster:// or rediss-cluster://")?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !["", "0"].contains(&database) {
            return Err(
                "the address of a cluster names no database: a cluster has only the one with the number 0",
            );
        }
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let access = Access {
            scheme,
            user: user.to_owned(),
            database: String::new(),
        };
        let mut members = BTreeMap::new();
        for host in hosts.split(',') {
            let (host, port) = host_and_port(host, REDIS_PORT)
                .ok_or("the nodes of a cluster are hosts with a port, separated by commas")?;
            let client = access.to(host, port);
            let client =
                client.map_err(|_| "user, password or hosts in the address of the cluster cannot be read")?;
            members.insert(place(&client), Member::new(client, true));
        }
        Ok(Self {
            members,
            access,
            unconfirmed: None,
        })
    }
}

/// Looks at the cluster every second, and whenever a request was refused, until the last user of `shared` is gone.
pub(super) async fn keep_connected(
    mut cluster: Cluster,
    response_timeout: Duration,
    shared: Weak<Shared>,
    status: watch::Sender<Connectivity>,
) {
    loop {
        let before = shared.upgrade().and_then(|shared| shared.masters().ok());
        let (masters, state) = cluster.look(before.as_deref(), response_timeout).await;
        let Some(alive) = shared.upgrade() else { return };
        if !before.is_some_and(|before| before.is_same(&masters)) {
            alive.replace(masters);
        }
        tell(&status, state);
        sleep(SHORTEST_PAUSE).await;
        tokio::select! {
            () = alive.look.notified() => {}
            () = sleep(PROBE_INTERVAL) => {}
        }
    }
}

fn tell(status: &watch::Sender<Connectivity>, state: Connectivity) {
    status.send_if_modified(|told| {
        if *told == state {
            return false;
        }
        match state.trouble() {
            None => tracing::info!("connected to every master of the redis cluster"),
            Some(trouble) => tracing::warn!(
                trouble,
                "a part of the redis cluster is missing: writes go on, reads of its keys use the stream and postgresql"
            ),
        }
        *told = state;
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_nodes() {
        let cluster = Cluster::parse("rediss", "app:p%40ss@a:1,b,[::1]:3").unwrap();
        let places: Vec<_> = cluster.members.keys().map(String::as_str).collect();
        assert_eq!(places, ["::1:3", "a:1", "b:6379"]);
        let node = cluster.access.to("10.0.0.7", 6379).unwrap();
        let settings = node.get_connection_info().redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("app"), Some("p@ss"), 0)
        );
        assert!(Cluster::parse("redis", "a:1,b:2/0").is_ok());
    }

    #[test]
    fn what_is_wrong_in_an_address_is_named() {
        for (rest, wrong) in [
            ("a:1/2", "only the one with the number 0"),
            ("a:1?x=y", "with a port"),
            ("a,,b", "with a port"),
            ("", "with a port"),
        ] {
            let error = Cluster::parse("redis", rest).unwrap_err();
            assert!(error.contains(wrong), "{rest}: {error}");
        }
        assert!(Cluster::parse("http", "a").is_err());
    }
}
