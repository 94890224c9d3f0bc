//! Whether the worker's messages can be pulled, over all its loops.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use birbnest_core::{Layout, NOT_REACHED, Partition};
use birbnest_service::Check;

/// Whether messages can be pulled: of every partition.
#[derive(Clone)]
pub(crate) struct SourceHealth {
    check: Check,
    troubles: Arc<Mutex<BTreeMap<Partition, String>>>,
}

impl SourceHealth {
    pub(crate) fn new(check: Check) -> Self {
        Self {
            check,
            troubles: Arc::default(),
        }
    }

    /// These are the partitions from now on, none of which has been reached.
    pub(crate) fn expect(&self, layout: Layout) {
        self.update(|troubles| {
            let unreached = |partition| (partition, NOT_REACHED.to_owned());
            *troubles = layout.partitions().map(unreached).collect();
            true
        });
    }

    pub(crate) fn all_failing(&self, reason: &str) {
        self.check.failing(reason);
    }

    /// The partition's messages can be pulled.
    pub(crate) fn healthy(&self, partition: Partition) {
        self.update(|troubles| troubles.remove(&partition).is_some());
    }

    /// They cannot.
    pub(crate) fn failing(&self, partition: Partition, reason: &impl fmt::Display) {
        let reason = reason.to_string();
        self.update(|troubles| troubles.insert(partition, reason.clone()).as_ref() != Some(&reason));
    }

    fn update(&self, change: impl FnOnce(&mut BTreeMap<Partition, String>) -> bool) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut troubles) {
            return;
        }
        match troubles.values().next() {
            None => self.check.healthy(),
            Some(reason) => self.check.failing(reason),
        }
    }
}
