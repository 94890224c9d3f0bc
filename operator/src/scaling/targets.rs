//! What reconciliation hands over to scaling.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::jetstream::Context;
use birbnest_core::{Layout, config::StreamConfig};
use k8s_openapi::api::core::v1::ObjectReference;

use super::Rule;
use crate::reconcile::NestId;

/// A nest whose workers are scaled.
#[derive(Clone)]
pub struct Target {
    /// Which.
    pub id: NestId,
    /// What events are about.
    pub about: ObjectReference,
    /// Where its streams are.
    pub log: Context,
    /// What they are.
    pub streams: StreamConfig,
    /// Which of them there are.
    pub layout: Layout,
    /// What the spec asks.
    pub rule: Rule,
    /// The Deployment of its workers.
    pub deployment: String,
    /// Replicas that the Deployment has now.
    pub replicas: u32,
    /// Workers that are ready.
    pub ready: u32,
}

/// All nests whose workers are scaled.
#[derive(Default)]
pub struct Targets(Mutex<HashMap<NestId, Arc<Target>>>);

impl Targets {
    /// Scales the nest's workers from now on, or with newer facts.
    pub fn follow(&self, target: Target) {
        self.lock().insert(target.id.clone(), Arc::new(target));
    }

    /// The nest's workers were scaled. The next reconciliation sees it by itself, but not one that fails on its way.
    pub fn scaled(&self, id: &NestId, replicas: u32) {
        if let Some(target) = self.lock().get_mut(id) {
            Arc::make_mut(target).replicas = replicas;
        }
    }

    /// Leaves the nest's workers as they are from now on.
    pub fn forget(&self, id: &NestId) {
        self.lock().remove(id);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Target>> {
        self.lock().values().cloned().collect()
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<NestId, Arc<Target>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
