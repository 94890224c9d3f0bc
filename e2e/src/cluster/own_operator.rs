//! An operator of a story's own, on this machine: the story may kill it, and decides what its API server does.

use std::{fs, net::SocketAddr};

use birbnest_crds::BirbNest;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Nest, Space};
use crate::{
    client::ApiClient,
    house::{built, sum_of},
    servers::{Process, Recipe, free_port, fresh_directory},
    wait::{eventually, seen},
};

/// An operator that looks after the nests of its class in the namespaces of a story, which no other operator does.
pub struct OwnOperator {
    space: Space,
    process: Process,
    metrics: ApiClient,
}

impl OwnOperator {
    /// One that finds its API server here, in plain HTTP. It is not started yet.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn new(space: &Space, api_server: SocketAddr) -> Self {
        Self::of(space, &[], api_server)
    }

    /// As [`OwnOperator::new`], for the nests in other namespaces as well. Its Lease is in the first.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn of(space: &Space, others: &[&Space], api_server: SocketAddr) -> Self {
        let directory = fresh_directory("operator");
        let kubeconfig = directory.join("kubeconfig");
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "own", "cluster": { "server": format!("http://{api_server}") } }],
            "contexts": [{ "name": "own", "context": { "cluster": "own", "user": "nobody" } }],
            "users": [{ "name": "nobody", "user": {} }],
            "current-context": "own",
        });
        let written = fs::write(&kubeconfig, content.to_string());
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", kubeconfig.display()));
        let listen = format!("127.0.0.1:{}", free_port());
        let kubeconfig = kubeconfig.display().to_string();
        let namespaces: Vec<_> = [&[space], others]
            .concat()
            .iter()
            .map(|space| space.name.as_str())
            .collect();
        let namespaces = namespaces.join(",");
        let environment = [
            ("KUBECONFIG", kubeconfig.as_str()),
            ("BIRBNEST_CLASS", &space.name),
            ("BIRBNEST_NAMESPACES", &namespaces),
            ("BIRBNEST_LISTEN", &listen),
            ("POD_NAMESPACE", &space.name),
            // The same in every life, as in a pod whose container is restarted.
            ("POD_NAME", "own"),
        ];
        let recipe = Recipe {
            program: built("birbnest-operator"),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Recipe::default()
        };
        Self {
            space: space.clone(),
            process: Process::new("operator", recipe, &directory),
            metrics: ApiClient::new(&format!("http://{listen}")),
        }
    }

    /// Applies a nest that it looks after.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn apply_nest(&self, name: &str, spec: &Value) -> Nest {
        self.apply_nest_in(&self.space, name, spec).await
    }

    /// As [`OwnOperator::apply_nest`], in another of its namespaces.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn apply_nest_in(&self, space: &Space, name: &str, spec: &Value) -> Nest {
        let nest = space.nest(name);
        let mut manifest = nest.manifest(spec);
        manifest["metadata"]["labels"] = json!({ "birbnest.dev/class": self.space.name });
        space.apply::<BirbNest>(&manifest).await;
        nest
    }

    /// Waits until it has passed over a nest from the beginning to the end.
    ///
    /// # Panics
    /// When it does not for half a minute.
    pub async fn until_reconciled(&self) {
        eventually("the operator has reconciled a nest", || async {
            let answer = self.metrics.request(Method::GET, "/metrics").try_send().await;
            let metrics = answer.map_err(|error| error.to_string())?.text;
            let done = "birbnest_operator_reconciles_total{outcome=\"ok\"}";
            seen(sum_of(&metrics, done), |done| *done > 0.5)
        })
        .await;
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for OwnOperator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.process.print_log();
        }
    }
}
