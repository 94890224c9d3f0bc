//! What happened, told as Kubernetes events on the nest.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// The API server takes no longer note.
const LONGEST_NOTE: usize = 1_000;

/// Tells events. Clones share one state.
#[derive(Clone)]
pub struct Events(Recorder);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Whether somebody should look.
    pub warning: bool,
    /// A stable name for it.
    pub reason: String,
    /// What was being done. Events that share reason and action are counted and keep the first note.
    pub action: String,
    /// In words.
    pub note: String,
}

impl Events {
    /// Tells them in the name of this operator.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: "birbnest.dev/operator".to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Tells an event about an object. One that cannot be told is logged: it is no reason to stop.
    pub async fn tell(&self, about: &ObjectReference, happening: Happening) {
        let (name, reason) = (about.name.clone(), happening.reason.clone());
        let event = Event {
            type_: if happening.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: happening.reason,
            note: Some(happening.note.chars().take(LONGEST_NOTE).collect()),
            action: happening.action,
            secondary: None,
        };
        match self.0.publish(&event, about).await {
            Ok(()) => {}
            Err(error) if is_of_ending_namespace(&error) => {
                tracing::debug!(
                    name,
                    reason,
                    "nobody is told any more: the namespace is being deleted"
                );
            }
            Err(error) => tracing::warn!(name, reason, %error, "an event could not be told"),
        }
    }
}

fn is_of_ending_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// What an event about a nest refers to.
pub fn about<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    object.object_ref(&())
}
