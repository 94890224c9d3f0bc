//! What the API server answered last about each child, so that a pass over a nest that is as it should be asks nothing.
//!
//! The API server keeps a book of whose each field is, and whoever changes a field takes it from its owner. As long as our
//! entry in that book is the one that our own apply left, every field that we applied still has the value that we gave it,
//! and applying the same again would change nothing. The watches, which know only metadata, tell whether there is something
//! newer than the last answer at all. When they lag behind, a pass asks or applies once more than it had to, or acts on an
//! answer that a moment ago was the newest; what they tell then begins another pass.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};

use crate::{children::Children, cluster::FIELD_MANAGER, reconcile::Digest};

/// Where a child is. No two of the kinds that a nest owns have the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The last answer about a child.
pub struct Answer<K> {
    /// What the API server said.
    pub object: K,
    /// Whether the watches know nothing newer.
    pub is_current: bool,
}

/// What was answered to an apply.
#[derive(Clone, Debug)]
pub struct Answered<K> {
    /// The object as it is now.
    pub now: K,
    /// As it was when somebody had changed what is applied.
    pub before: Option<K>,
}

impl<K> Answered<K> {
    /// As it was left.
    pub const fn untouched(now: K) -> Self {
        Self { now, before: None }
    }

    /// What others made of it.
    pub fn found(&self) -> &K {
        self.before.as_ref().unwrap_or(&self.now)
    }
}

/// The last answers about all children.
pub struct Answers {
    children: Arc<Children>,
    kept: Mutex<HashMap<Place, Kept>>,
}

struct Kept {
    /// What had been applied; nothing for what was only read.
    applied: Option<Digest>,
    version: String,
    /// As JSON, which is a fraction of what it takes as an object.
    object: Box<[u8]>,
}

impl Answers {
    /// None yet, about the children that these watches tell of.
    pub fn new(children: Arc<Children>) -> Self {
        Self {
            children,
            kept: Mutex::default(),
        }
    }

    /// The last answer, if it came when `applied` was applied (or, without, when the object was read) and the object has not
    /// gone since.
    pub fn last<K: DeserializeOwned>(&self, place: &Place, applied: Option<&Digest>) -> Option<Answer<K>> {
        let newest = self.children.version(place)?;
        let kept = self.lock();
        let last = kept.get(place)?;
        if last.applied.as_ref() != applied {
            return None;
        }
        Some(Answer {
            object: serde_json::from_slice(&last.object).ok()?,
            is_current: last.version == newest,
        })
    }

    /// Keeps an answer.
    pub fn keep<K: Resource + Serialize>(&self, place: &Place, applied: Option<Digest>, object: &K) {
        let (Some(version), Ok(json)) = (object.resource_version(), serde_json::to_vec(object)) else {
            return;
        };
        let kept = Kept {
            applied,
            version,
            object: json.into(),
        };
        self.lock().insert(place.clone(), kept);
    }

    /// Forgets what was said about children that are gone.
    pub fn sweep(&self) {
        self.lock()
            .retain(|place, _| self.children.version(place).is_some());
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether every field that was applied to `before` is in `now` as it was.
pub fn is_as_applied<K: Resource>(before: &K, now: &K) -> bool {
    let ours = ours(before);
    !ours.is_empty() && ours == self::ours(now)
}

/// What the API server has in its book as applied by us.
pub fn ours<K: Resource>(object: &K) -> Vec<&ManagedFieldsEntry> {
    let applied = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    object.managed_fields().iter().filter(applied).collect()
}

/// Whether whoever this entry of the book is about owns the number of replicas.
pub fn owns_replicas(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref();
    fields.is_some_and(|fields| fields.0["f:spec"]["f:replicas"].is_object())
}

#[cfg(test)]
mod tests;
