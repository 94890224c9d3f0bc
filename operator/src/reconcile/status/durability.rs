//! Whether what an acknowledgement promises can be kept by what is there.

use birbnest_crds::BirbNest;

use super::conditions::{DURABILITY, Finding};
use crate::reconcile::{apply::Applied, facts::Why};

pub(super) fn assess(nest: &BirbNest, applied: &Applied) -> Finding {
    if let Err(why) = &applied.streams {
        return Finding::fails(DURABILITY, why.clone());
    }
    if nest.spec.nats.managed.is_some() || nest.spec.postgres.managed.is_some() {
        let message = format!(
            "{}: single nodes, for trying out; an acknowledged write survives a restart of every pod, and is lost with \
             the volume that holds the only copy",
            applied.backends.names().join(", "),
        );
        return Finding::holds(DURABILITY, "SingleNode", message);
    }
    if applied.replicas_of_the_log > 1 {
        let message = format!(
            "{} servers keep each write until PostgreSQL has it",
            applied.replicas_of_the_log
        );
        return Finding::holds(DURABILITY, "Replicated", message);
    }
    let message = "spec.nats.stream.replicas is 1, and whether that server writes to its disk before it acknowledges \
                   cannot be seen from here: set jetstream.sync_interval to always there, or use 3 replicas";
    Finding::fails(DURABILITY, Why::waiting("SingleCopy", message))
}
