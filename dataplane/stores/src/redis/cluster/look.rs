//! One look at the cluster: who has which slot now, and what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use redis::Client;
use tokio::time::Instant;

use super::{
    super::{
        connection::{PROBE_INTERVAL, UNCONFIRMED_LOOKS},
        masters::{Masters, Places, Session, Slots},
        place::place,
    },
    Cluster,
    member::Member,
    view::{Node, View},
    vote::{Verdict, verdicts},
};
use crate::Connectivity;

impl Cluster {
    /// Asks everybody who is known, and whom they name. A slot keeps its master while the others are in doubt, but not for
    /// long, and only over a connection that still leads to the same life.
    pub(super) async fn look(
        &mut self,
        before: Option<&Masters>,
        timeout: Duration,
    ) -> (Masters, Connectivity) {
        join_all(self.members.values_mut().map(|member| member.ask(timeout))).await;
        let mut new = self.strangers();
        join_all(new.values_mut().map(|member| member.ask(timeout))).await;
        self.members.append(&mut new);
        self.forget();
        let views: Vec<&View> = self.members.values().filter_map(Member::view).collect();
        let verdicts = verdicts(&views);
        let doubt = verdicts.contains(&Verdict::Unconfirmed);
        let since = doubt.then(|| self.unconfirmed.unwrap_or_else(Instant::now));
        let patient = since.is_none_or(|since| since.elapsed() < PROBE_INTERVAL * UNCONFIRMED_LOOKS);
        let before = before.filter(|_| patient);
        let sessions = self.sessions();
        let slots: Slots = (0..verdicts.len())
            .map(|slot| match verdicts[slot] {
                Verdict::Owner(node) => sessions.get(node.id.as_str()).map(|session| Arc::clone(session)),
                Verdict::Nobody => None,
                Verdict::Unconfirmed => before.and_then(|before| before.of_slot(slot)).cloned(),
            })
            .collect();
        let state = if views.is_empty() {
            self.silence()
        } else {
            state(&slots, &verdicts)
        };
        let places = places(&views, &sessions);
        self.unconfirmed = since;
        (Masters::Cluster(slots, places), state)
    }

    /// The connections to those who answer as masters, by the number of their node.
    fn sessions(&self) -> BTreeMap<&str, &Arc<Session>> {
        let members = self.members.values();
        members
            .filter_map(|member| Some((member.node()?.id.as_str(), member.session()?)))
            .collect()
    }

    /// Masters that are named and not known yet.
    fn strangers(&self) -> BTreeMap<String, Member> {
        let known: BTreeSet<&str> = self.known().collect();
        let named = self.named().filter(|node| !known.contains(node.id.as_str()));
        let clients = named.filter_map(|node| self.client_of(node));
        clients
            .map(|client| (place(&client), Member::new(client, false)))
            .filter(|(place, _)| !self.members.contains_key(place))
            .collect()
    }

    /// Whoever is named no more is asked no more. While nobody answers, everybody may come back.
    fn forget(&mut self) {
        let named: BTreeSet<String> = self.named().map(|node| node.id.clone()).collect();
        let clients = self.named().filter_map(|node| self.client_of(node));
        let places: BTreeSet<String> = clients.map(|client| place(&client)).collect();
        self.members.retain(|place, member| {
            let is_named = member.node().is_some_and(|node| named.contains(&node.id));
            member.is_of_the_address || named.is_empty() || is_named || places.contains(place)
        });
    }

    /// Nobody answers: the reason that one of them gives is mostly that of all.
    fn silence(&self) -> Connectivity {
        let reason = self.members.values().find_map(Member::failure);
        let reason = reason.unwrap_or("none was asked");
        Connectivity::Lost(format!("no node of the cluster answers: {reason}"))
    }

    fn known(&self) -> impl Iterator<Item = &str> {
        let nodes = self.members.values().filter_map(Member::node);
        nodes.map(|node| node.id.as_str())
    }

    fn named(&self) -> impl Iterator<Item = &Node> {
        self.members
            .values()
            .filter_map(Member::view)
            .flat_map(View::masters)
    }

    /// Certificates bear names, and addresses need no resolver.
    fn client_of(&self, node: &Node) -> Option<Client> {
        let by_name = self.access.scheme == "rediss" && !node.hostname.is_empty();
        let host = if by_name { &node.hostname } else { &node.ip };
        let known = !host.is_empty();
        known.then(|| self.access.to(host, node.port).ok())?
    }
}

/// The masters under every name that a redirection may use.
fn places(views: &[&View], sessions: &BTreeMap<&str, &Arc<Session>>) -> Places {
    let named = views.iter().flat_map(|view| view.masters());
    named
        .filter_map(|node| Some((node, sessions.get(node.id.as_str())?)))
        .flat_map(|(node, session)| {
            [&node.ip, &node.hostname].map(|host| (format!("{host}:{}", node.port), Arc::clone(session)))
        })
        .collect()
}

/// What is missing, so that every slot has its master.
fn state(slots: &Slots, verdicts: &[Verdict<'_>]) -> Connectivity {
    let missing = slots
        .iter()
        .zip(verdicts)
        .filter(|(session, _)| session.is_none());
    let troubles: BTreeSet<String> = missing
        .map(|(_, verdict)| match verdict {
            Verdict::Owner(node) => format!("{}:{} does not answer", node.ip, node.port),
            Verdict::Nobody => "some hash slots have no master".to_owned(),
            Verdict::Unconfirmed => "too few masters agree on who has some hash slots".to_owned(),
        })
        .collect();
    if troubles.is_empty() {
        return Connectivity::Connected;
    }
    let troubles: Vec<String> = troubles.into_iter().collect();
    Connectivity::Lost(troubles.join(", "))
}
