//! Who may open connections to the pods. What they connect to themselves is not limited: the addresses of the backends say
//! neither which pods stand behind a Service nor on which ports those listen, and these are what a policy is about.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::reconcile::validate::{Component, ValidNest};

/// None when the spec asks for none.
pub(super) fn build(nest: &ValidNest) -> Vec<NetworkPolicy> {
    let asked = &nest.network_policies;
    if !asked.enabled {
        return vec![];
    }
    let mut policies = vec![
        policy(
            nest,
            Component::Api,
            &[from(&clients(nest), &[nest.access.scheme()])],
        ),
        policy(nest, Component::Worker, &[from(&asked.monitoring, &["http"])]),
        policy(nest, Component::Migrate, &[]),
    ];
    let pods = |components: &[Component]| components.iter().map(|one| pods(nest, *one)).collect::<Vec<_>>();
    let backends = &nest.backends;
    if backends.redis.is_managed() {
        let users = pods(&[Component::Api, Component::Worker]);
        policies.push(policy(nest, Component::Redis, &[from(&users, &["redis"])]));
    }
    if backends.nats.is_managed() {
        let mut users = pods(&[Component::Api, Component::Worker, Component::Migrate]);
        users.push(operator(nest));
        policies.push(policy(nest, Component::Nats, &[from(&users, &["nats"])]));
    }
    if backends.postgres.is_managed() {
        let users = pods(&[Component::Api, Component::Worker, Component::Migrate]);
        policies.push(policy(nest, Component::Postgres, &[from(&users, &["postgres"])]));
    }
    policies
}

/// Everybody, or those who are named and those who ask for metrics.
fn clients(nest: &ValidNest) -> Vec<NetworkPolicyPeer> {
    let asked = &nest.network_policies;
    if asked.clients.is_empty() {
        return vec![];
    }
    asked.clients.iter().chain(&asked.monitoring).cloned().collect()
}

fn policy(nest: &ValidNest, component: Component, ingress: &[NetworkPolicyIngressRule]) -> NetworkPolicy {
    NetworkPolicy {
        metadata: metadata::of(&nest.id, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(metadata::selector(&nest.id, component)),
            ingress: metadata::some(ingress),
            policy_types: Some(vec!["Ingress".to_owned()]),
            egress: None,
        }),
    }
}

/// These peers, everybody if there are none, to these ports of the pods.
fn from(peers: &[NetworkPolicyPeer], ports: &[&str]) -> NetworkPolicyIngressRule {
    let port = |name: &&str| NetworkPolicyPort {
        port: Some(IntOrString::String((*name).to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from: metadata::some(peers),
        ports: Some(ports.iter().map(port).collect()),
    }
}

fn pods(nest: &ValidNest, component: Component) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(metadata::selector(&nest.id, component)),
        ..NetworkPolicyPeer::default()
    }
}

/// The operator looks after the streams.
fn operator(nest: &ValidNest) -> NetworkPolicyPeer {
    let labelled = |key: &str, value: &str| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        match_expressions: None,
    };
    NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", &nest.release.namespace)),
        pod_selector: Some(labelled("app.kubernetes.io/name", "birbnest-operator")),
        ip_block: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reconcile::fixtures::{external, managed, valid};

    fn names(policies: &[NetworkPolicy]) -> Vec<&str> {
        let names = policies.iter().map(|policy| policy.metadata.name.as_deref());
        names.map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn only_what_the_operator_runs_has_a_policy() {
        let policies = build(&valid(&external()));
        assert_eq!(
            names(&policies),
            ["prices-api", "prices-worker", "prices-migrate"]
        );
    }

    #[test]
    fn who_may_scrape_may_reach_the_api_of_named_clients() {
        let mut nest = managed();
        let pods = |team: &str| json!({ "podSelector": { "matchLabels": { "team": team } } });
        let limits = json!({ "clients": [pods("shop")], "monitoring": [pods("sre")] });
        nest.spec.network_policies = serde_json::from_value(limits).unwrap();
        let policies = build(&valid(&nest));
        let peers = |policy: &NetworkPolicy| {
            let rules = policy.spec.clone().unwrap().ingress.unwrap_or_default();
            rules[0].from.clone().map_or(0, |peers| peers.len())
        };
        assert_eq!(peers(&policies[0]), 2);
        assert_eq!(peers(&policies[1]), 1);
    }

    #[test]
    fn a_nest_may_have_none() {
        let mut nest = managed();
        nest.spec.network_policies.enabled = false;
        assert_eq!(build(&valid(&nest)), []);
    }
}
