//! Nests as the API server has them.

use anyhow::Context;
use birbnest_crds::BirbNest;
use kube::{Api, Client, api::ListParams};

/// The nest of that name.
pub(crate) async fn read(client: &Client, namespace: &str, name: &str) -> anyhow::Result<BirbNest> {
    let nests: Api<BirbNest> = Api::namespaced(client.clone(), namespace);
    nests
        .get(name)
        .await
        .with_context(|| format!("the BirbNest {name} of the namespace {namespace} cannot be read"))
}

/// All of a namespace.
pub(crate) async fn list(client: &Client, namespace: &str) -> anyhow::Result<Vec<BirbNest>> {
    let nests: Api<BirbNest> = Api::namespaced(client.clone(), namespace);
    let listed = nests.list(&ListParams::default()).await;
    let listed =
        listed.with_context(|| format!("the BirbNests of the namespace {namespace} cannot be listed"))?;
    Ok(listed.items)
}
