//! What most of the masters say: the rule by which the cluster itself chooses, asked from outside.

use std::collections::BTreeMap;

use super::{
    SLOTS,
    view::{Node, View},
};

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Most of the masters name this one, and none knows of a later owner.
    Owner(&'a Node),
    /// Most of the masters know of no owner.
    Nobody,
    /// Too few masters answer, or they disagree: the slot may be on its way to another one.
    Unconfirmed,
}

/// A verdict on each slot. Whoever was cut off from the others, or slept while they chose another, stands alone.
pub(super) fn verdicts<'a>(views: &[&'a View]) -> Vec<Verdict<'a>> {
    // A node that was asked under two names has one vote.
    let voters: BTreeMap<&str, &'a View> = views
        .iter()
        .filter_map(|&view| {
            let own = view.asked()?;
            let votes = view.masters().any(|master| master.id == own.id);
            votes.then_some((own.id.as_str(), view))
        })
        .collect();
    let masters = voters.values().map(|view| view.masters().count()).max();
    let most = masters.unwrap_or_default() / 2 + 1;
    let said: Vec<_> = voters.values().map(|view| view.owners()).collect();
    (0..SLOTS)
        .map(|slot| verdict(said.iter().map(|owners| owners[slot]), most))
        .collect()
}

fn verdict<'a>(said: impl Iterator<Item = Option<&'a Node>> + Clone, most: usize) -> Verdict<'a> {
    let latest = said.clone().flatten().max_by_key(|node| (node.epoch, &node.id));
    let agree = said.filter(|node| node.map(|node| &node.id) == latest.map(|node| &node.id));
    if agree.count() < most {
        return Verdict::Unconfirmed;
    }
    latest.map_or(Verdict::Nobody, Verdict::Owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `asked` says of masters with an epoch and slots each.
    fn view(asked: &str, masters: &[(&str, u64, &str)]) -> View {
        let lines = masters.iter().map(|(id, epoch, slots)| {
            let itself = if *id == asked { "myself," } else { "" };
            format!("{id} 10.0.0.1:6379@16379 {itself}master - 0 0 {epoch} connected {slots}\n")
        });
        View::parse(&lines.collect::<String>())
    }

    fn of_slot_0(views: &[View]) -> Option<String> {
        let views: Vec<_> = views.iter().collect();
        match verdicts(&views)[0] {
            Verdict::Owner(node) => Some(node.id.clone()),
            Verdict::Nobody => Some(String::new()),
            Verdict::Unconfirmed => None,
        }
    }

    const BEFORE: [(&str, u64, &str); 3] = [("a", 1, "0"), ("b", 2, "1"), ("c", 3, "2")];
    const AFTER: [(&str, u64, &str); 3] = [("d", 4, "0"), ("b", 2, "1"), ("c", 3, "2")];

    #[test]
    fn a_master_that_slept_while_another_was_chosen_stands_alone() {
        let after = |asked| view(asked, &AFTER);
        let views = [view("a", &BEFORE), after("b"), after("c"), after("d")];
        assert_eq!(of_slot_0(&views), Some("d".to_owned()));
        assert_eq!(of_slot_0(&views[..1]), None);
        assert_eq!(of_slot_0(&[]), None);
    }

    #[test]
    fn a_later_owner_whom_few_know_is_enough_for_doubt() {
        let views = [
            view("a", &BEFORE),
            view("b", &BEFORE),
            view("c", &BEFORE),
            view("d", &AFTER),
        ];
        assert_eq!(of_slot_0(&views[..3]), Some("a".to_owned()));
        assert_eq!(of_slot_0(&views), None);
    }

    #[test]
    fn a_node_has_one_vote_and_needs_slots_for_it() {
        let twice = [view("a", &BEFORE), view("a", &BEFORE)];
        assert_eq!(of_slot_0(&twice), None);
        let replicas = ["x", "y", "z"].map(|asked| {
            let line = format!("{asked} 10.0.0.1:6379@16379 myself,slave a 0 0 1 connected\n");
            let known = BEFORE.map(|(id, epoch, slots)| {
                format!("{id} 10.0.0.1:6379@16379 master - 0 0 {epoch} connected {slots}\n")
            });
            View::parse(&(line + &known.concat()))
        });
        assert_eq!(of_slot_0(&replicas), None);
    }

    #[test]
    fn a_slot_of_nobody_is_told_from_one_that_nobody_tells_of() {
        let owners = [("a", 1, "3"), ("b", 2, "1"), ("c", 3, "2")];
        let views = ["a", "b"].map(|asked| view(asked, &owners));
        assert_eq!(of_slot_0(&views), Some(String::new()));
        assert_eq!(of_slot_0(&views[..1]), None);
    }
}
