//! The persist streams, on every pass: created, compared, repaired.

use async_nats::jetstream::Context as JetStream;
use birbnest_core::config::StreamConfig;
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

pub(super) async fn apply(
    ctx: &Context,
    id: &NestId,
    wanted: &StreamConfig,
    addresses: &Addresses,
    backends: &Backends,
) -> (Option<JetStream>, Step<Vec<Provisioned>>) {
    let log = match open(ctx, id, addresses, backends).await {
        Ok(log) => log,
        Err(why) => return (None, Err(why)),
    };
    let streams = provision::ensure(&log, wanted).await.map_err(|error| why(&error));
    (Some(log), streams)
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
