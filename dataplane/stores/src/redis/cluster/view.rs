//! A cluster as one of its nodes sees it (`CLUSTER NODES`).

use std::ops::RangeInclusive;

use super::SLOTS;

/// What one node says of all.
#[derive(Debug)]
pub(super) struct View {
    nodes: Vec<Node>,
}

/// A node as another, or it itself, sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: String,
    /// Its address, empty while the one that was asked does not know its own.
    pub(super) ip: String,
    /// The name that it announces, or nothing.
    pub(super) hostname: String,
    pub(super) port: u16,
    /// Of two that claim a slot, the one with the higher epoch was given it later.
    pub(super) epoch: u64,
    slots: Vec<RangeInclusive<usize>>,
    is_itself: bool,
}

impl View {
    /// Reads the answer; lines that say nothing of a node are passed over.
    pub(super) fn parse(answer: &str) -> Self {
        Self {
            nodes: answer.lines().filter_map(Node::parse).collect(),
        }
    }

    /// The node that was asked.
    pub(super) fn asked(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_itself)
    }

    /// Those who have slots: the ones whose majority decides in the cluster, too.
    pub(super) fn masters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.slots.is_empty())
    }

    /// The owner of each slot.
    pub(super) fn owners(&self) -> Vec<Option<&Node>> {
        let mut owners = vec![None; SLOTS];
        for node in &self.nodes {
            for slots in &node.slots {
                if let Some(owned) = owners.get_mut(slots.clone()) {
                    owned.fill(Some(node));
                }
            }
        }
        owners
    }
}

impl Node {
    /// `id ip:port@bus[,hostname] flags master ping pong epoch link [slot|first-last|[moving slot]]...`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
        let (place, names) = address.split_once(',').unwrap_or((address, ""));
        let (ip, port) = place.split('@').next()?.rsplit_once(':')?;
        let hostname = names.split(',').find(|name| !name.contains('=')).unwrap_or("");
        // The number of its master, and when it was pinged and answered last.
        let epoch = words.nth(3)?;
        let slots = words.skip(1).filter_map(slots).collect();
        Some(Self {
            id: id.to_owned(),
            ip: ip.to_owned(),
            hostname: hostname.to_owned(),
            port: port.parse().ok()?,
            epoch: epoch.parse().ok()?,
            slots,
            is_itself: flags.split(',').any(|flag| flag == "myself"),
        })
    }
}

fn slots(word: &str) -> Option<RangeInclusive<usize>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    // A slot on the move is shown in brackets, which are no digits, and still belongs to where it was.
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_node_is_read() {
        let view = View::parse(
            "07c3 127.0.0.1:30004@31004,hostname4 slave e7d1 0 1426238317239 4 connected\n\
             67ed 127.0.0.1:30002@31002,,shard-id=6b master - 0 1426238316232 2 connected 5461-10922 16383\n\
             e7d1 :30001@31001 myself,master - 0 0 1 connected 0-5460 [5461-<-67ed] [7->-67ed]\n\n",
        );
        let names: Vec<_> = view.nodes.iter().map(|node| &*node.hostname).collect();
        assert_eq!(names, ["hostname4", "", ""]);
        let itself = view.asked().unwrap();
        assert_eq!(
            (&*itself.id, &*itself.ip, itself.port, itself.epoch),
            ("e7d1", "", 30001, 1)
        );
        let owners = view.owners();
        let owner = |slot: usize| owners[slot].map(|node| &*node.id);
        assert_eq!(owner(5460), Some("e7d1"));
        assert_eq!(owner(5461), Some("67ed"));
        assert_eq!(owner(16_383), Some("67ed"));
        assert_eq!(owner(10_923), None);
        assert_eq!(view.masters().count(), 2);
    }
}
