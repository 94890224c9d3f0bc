//! The persist streams, on every pass: created, compared, repaired.

use async_nats::jetstream::Context as JetStream;
use birbnest_core::{Layout, Partition, config::StreamConfig};
use birbnest_crds::{BirbNest, BirbNestStatus};
use birbnest_stores::jetstream::provision::{self, ProvisionError, Provisioned};

use super::managed::Backends;
use crate::{
    context::Context,
    reconcile::{
        dereference::Addresses,
        facts::{Step, Why},
        validate::NestId,
    },
    streams::ConnectError,
};

/// A nest's NATS, and which partitions there are.
pub(in crate::reconcile) struct Log {
    pub(in crate::reconcile) js: JetStream,
    pub(in crate::reconcile) layout: Layout,
}

pub(super) async fn apply(
    ctx: &Context,
    nest: &BirbNest,
    id: &NestId,
    wanted: &StreamConfig,
    addresses: &Addresses,
    backends: &Backends,
) -> (Option<Log>, Step<Vec<Provisioned>>) {
    let js = match open(ctx, id, addresses, backends).await {
        Ok(js) => js,
        Err(why) => return (None, Err(why)),
    };
    let layout = match provision::layout(&js, wanted).await {
        Ok(found) => found
            .or_else(|| remembered(nest.status.as_ref()?))
            .unwrap_or_else(|| Layout::of_new_nest(wanted.partitions)),
        Err(error) => return (None, Err(why(&error))),
    };
    let streams = provision::ensure(&js, wanted, layout).await;
    (Some(Log { js, layout }), streams.map_err(|error| why(&error)))
}

/// The partitions of a nest whose NATS has lost all streams: they are made again as PostgreSQL knows them.
fn remembered(status: &BirbNestStatus) -> Option<Layout> {
    let layout =
        |first, count| Layout::new(Partition(u16::try_from(first).ok()?), u16::try_from(count).ok()?);
    if let Some(partitions) = &status.partitions {
        return layout(partitions.first, partitions.count);
    }
    // Nobody has written it yet, or somebody who could not read what stood there.
    let through = &status.persisted_through;
    let first = through.iter().map(|of| of.partition).min()?;
    layout(first, i32::try_from(through.len()).ok()?)
}

/// A connection to the nest's NATS.
pub(in crate::reconcile) async fn open(
    ctx: &Context,
    id: &NestId,
    addresses: &Addresses,
    backends: &Backends,
) -> Step<JetStream> {
    let address = addresses.nats.as_ref().or(backends.nats.as_ref());
    let Some(address) = address else {
        return Err(Why::waiting(
            "BackendsStarting",
            "the address of NATS is not known yet",
        ));
    };
    ctx.connections
        .open(id, address)
        .await
        .map_err(|error| match error {
            // A managed NATS is waited for; whoever runs one of their own has something to mend.
            ConnectError::Address(_) => Why::stuck("AddressMalformed", error.to_string()),
            _ if backends.nats.is_some() => Why::waiting("BackendsStarting", error.to_string()),
            _ => Why::waiting("NatsUnreachable", error.to_string()),
        })
}

fn why(error: &ProvisionError) -> Why {
    if error.is_unavailable() {
        Why::waiting(error.reason(), error.to_string())
    } else {
        Why::stuck(error.reason(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use birbnest_crds::{PartitionsStatus, PersistedThrough};

    use super::*;

    #[test]
    fn the_status_remembers_which_partitions_there_were() {
        let mut status = BirbNestStatus::default();
        assert_eq!(remembered(&status), None);
        let through = |partition| PersistedThrough {
            partition,
            epoch: 1,
            sequence: 0,
            version: None,
        };
        status.persisted_through = vec![through(2), through(3), through(1)];
        assert_eq!(remembered(&status), Layout::new(Partition(1), 3));
        status.partitions = Some(PartitionsStatus { first: 4, count: 2 });
        assert_eq!(remembered(&status), Layout::new(Partition(4), 2));
    }
}
