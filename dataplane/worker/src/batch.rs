//! Keeping the newest write of each key.

use std::{cmp::Ordering, collections::HashMap, mem};

use birbnest_core::{Content, Entry, EntryId};

/// A batch with one entry per key, and the receipts of all messages that it stands for. `R` is the receipt.
#[derive(Debug)]
pub(crate) struct Batch<R> {
    /// The newest entry of each key, no key twice.
    pub(crate) entries: Vec<Entry>,
    /// What each entry stands for, in the same order.
    pub(crate) receipts: Vec<Receipts<R>>,
}

/// The messages of one key.
#[derive(Debug)]
pub(crate) struct Receipts<R> {
    /// Those of the newest version: more than one when it was delivered again.
    pub(crate) newest: Vec<R>,
    /// Those of older versions.
    pub(crate) superseded: Vec<R>,
}

impl<R> Batch<R> {
    /// From messages in any order, some of which may occur twice.
    pub(crate) fn of(messages: Vec<(Entry, R)>) -> Self {
        let mut batch = Self {
            entries: Vec::new(),
            receipts: Vec::new(),
        };
        let mut places: HashMap<EntryId, usize> = HashMap::with_capacity(messages.len());
        for (entry, receipt) in messages {
            let next = batch.entries.len();
            let place = *places.entry(entry.record.id.clone()).or_insert(next);
            if let (Some(known), Some(receipts)) =
                (batch.entries.get_mut(place), batch.receipts.get_mut(place))
            {
                merge(known, receipts, entry, receipt);
                continue;
            }
            batch.entries.push(entry);
            batch.receipts.push(Receipts {
                newest: vec![receipt],
                superseded: Vec::new(),
            });
        }
        batch
    }

    /// Every receipt.
    pub(crate) fn all_receipts(&self) -> impl Iterator<Item = &R> {
        self.receipts
            .iter()
            .flat_map(|receipts| receipts.newest.iter().chain(&receipts.superseded))
    }
}

impl<R> Receipts<R> {
    /// Every receipt of the key.
    pub(crate) fn into_all(self) -> impl Iterator<Item = R> {
        self.newest.into_iter().chain(self.superseded)
    }
}

fn merge<R>(known: &mut Entry, receipts: &mut Receipts<R>, entry: Entry, receipt: R) {
    match entry.version.cmp(&known.version) {
        Ordering::Equal => receipts.newest.push(receipt),
        Ordering::Less => {
            receipts.superseded.push(receipt);
            carry_creation(&entry, known);
        }
        Ordering::Greater => {
            let older = mem::replace(known, entry);
            receipts.superseded.append(&mut receipts.newest);
            receipts.newest.push(receipt);
            carry_creation(&older, known);
        }
    }
}

/// An overwrite keeps the time at which the entry came to be, as it does in the table.
fn carry_creation(older: &Entry, newer: &mut Entry) {
    let overwrites = matches!(newer.record.content, Content::Value { .. });
    if overwrites && older.record.is_live(newer.record.updated_at) {
        newer.record.created_at = newer.record.created_at.min(older.record.created_at);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use birbnest_core::{Record, Timestamp, Version};
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn entry(key: u8, version: u64) -> Entry {
        let at = Timestamp::from_micros(version.cast_signed());
        Entry {
            version: Version::new(version).unwrap(),
            record: Record {
                id: EntryId::global(format!("k{key}").parse().unwrap()),
                content: Content::Value {
                    value: RawValue::from_string(version.to_string()).unwrap(),
                    metadata: None,
                },
                created_at: at,
                updated_at: at,
                expires_at: None,
                operation_ids: vec![],
            },
        }
    }

    #[test]
    fn an_overwrite_in_the_same_batch_keeps_the_creation_time_and_a_deletion_ends_it() {
        let batch = Batch::of(vec![(entry(1, 5), ()), (entry(1, 3), ())]);
        assert_eq!(batch.entries[0].record.created_at, Timestamp::from_micros(3));

        let mut deleted = entry(1, 3);
        deleted.record.content = Content::Tombstone;
        let batch = Batch::of(vec![(deleted, ()), (entry(1, 5), ())]);
        assert_eq!(batch.entries[0].record.created_at, Timestamp::from_micros(5));
    }

    proptest! {
        #[test]
        fn the_newest_of_each_key_is_kept_and_no_receipt_is_lost(
            writes in proptest::collection::vec((0u8..6, 1u64..40), 0..60),
        ) {
            // A version belongs to one key.
            let versions: BTreeMap<u64, u8> = writes.iter().map(|(key, version)| (*version, *key)).collect();
            let messages: Vec<_> = writes.iter().map(|(_, version)| (versions[version], *version)).collect();
            let mut newest: BTreeMap<String, u64> = BTreeMap::new();
            for (key, version) in &messages {
                let known = newest.entry(format!("k{key}")).or_default();
                *known = (*known).max(*version);
            }

            let batch = Batch::of(messages.iter().map(|(key, version)| (entry(*key, *version), *version)).collect());
            let kept: BTreeMap<String, u64> = batch
                .entries
                .iter()
                .map(|entry| (entry.record.id.key.to_string(), entry.version.get()))
                .collect();
            prop_assert_eq!(kept.len(), batch.entries.len());
            prop_assert_eq!(&kept, &newest);
            for (entry, receipts) in batch.entries.iter().zip(&batch.receipts) {
                prop_assert!(receipts.newest.iter().all(|version| *version == entry.version.get()));
                prop_assert!(receipts.superseded.iter().all(|version| *version < entry.version.get()));
            }
            let mut receipts: Vec<_> = batch.all_receipts().copied().collect();
            let mut sent: Vec<_> = messages.iter().map(|(_, version)| *version).collect();
            receipts.sort_unstable();
            sent.sort_unstable();
            prop_assert_eq!(receipts, sent);
        }
    }
}
