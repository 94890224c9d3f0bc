//! What the Prometheus operator is told: which pods have metrics, and when to alert.

use std::{collections::BTreeSet, sync::LazyLock};

use kube::api::ApiResource;
use serde_json::{Value, json};

use super::{BuildError, metadata};
use crate::{
    kinds::{Foreign, pod_monitor, prometheus_rule},
    reconcile::validate::{Component, ValidNest},
};

/// With words in the place of what differs from nest to nest, so that it is a rule file as it stands. Read once: every pass over
/// a nest makes its rules of it.
static ALERTS: LazyLock<Result<Value, String>> =
    LazyLock::new(|| serde_yaml::from_str(include_str!("alerts.yaml")).map_err(|error| error.to_string()));
/// The default of `spec.nats.stream.maxMessages`, which the rules have in its place.
const MAX_MESSAGES: &str = "1000000";

/// An object of each kind, or none when the spec asks for none.
pub(super) fn build(nest: &ValidNest) -> Result<Vec<Foreign>, BuildError> {
    if !nest.monitoring.enabled {
        return Ok(vec![]);
    }
    let monitor = json!({
        "selector": { "matchLabels": nest.id.selector_of_all() },
        "podMetricsEndpoints": endpoints(nest),
    });
    Ok(vec![
        object(nest, pod_monitor(), &monitor),
        object(nest, prometheus_rule(), &alerts(nest)?),
    ])
}

/// By port: API and workers have theirs in common as long as there is no TLS.
fn endpoints(nest: &ValidNest) -> Vec<Value> {
    let endpoint = |scheme: &str| {
        let mut endpoint = json!({
            "port": scheme,
            "path": "/metrics",
            // By its name alone a pod does not tell whose it is.
            "relabelings": [{
                "sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"],
                "targetLabel": "nest",
            }],
        });
        if scheme == "https" {
            // A pod is asked by its address, which no certificate names.
            endpoint["scheme"] = json!("https");
            endpoint["tlsConfig"] = json!({ "insecureSkipVerify": true });
        }
        endpoint
    };
    let schemes = BTreeSet::from(["http", nest.access.scheme()]);
    schemes.into_iter().map(endpoint).collect()
}

fn object(nest: &ValidNest, kind: ApiResource, spec: &Value) -> Foreign {
    let mut metadata = metadata::named(&nest.id, Component::Monitoring, nest.id.name().to_owned());
    let mut labels = nest.monitoring.labels.clone();
    labels.append(metadata.labels.get_or_insert_default());
    metadata.labels = Some(labels);
    Foreign::new(kind, metadata, spec)
}

fn alerts(nest: &ValidNest) -> Result<Value, BuildError> {
    let mut alerts = ALERTS.clone().map_err(BuildError::Alerts)?;
    let messages = nest.settings.stream.max_messages.to_string();
    fill(
        &mut alerts,
        &[
            ("NAMESPACE", nest.id.namespace()),
            ("NEST", nest.id.name()),
            ("RUNBOOKS", &nest.release.runbooks),
            (MAX_MESSAGES, &messages),
        ],
    );
    Ok(alerts)
}

/// Replaces the words in every text.
fn fill(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (word, with) in words {
                *text = text.replace(word, with);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, words)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, words)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures::{managed, valid};

    #[test]
    fn the_rules_speak_of_this_nest_and_its_limit() {
        let mut nest = managed();
        nest.spec.nats.stream.max_messages = 400_000;
        let objects = build(&valid(&nest)).unwrap();
        let text = serde_json::to_string(&objects[1].object).unwrap();
        for word in ["NAMESPACE", "\"NEST\"", "RUNBOOKS", MAX_MESSAGES] {
            assert!(!text.contains(word), "{word} is left");
        }
        assert!(text.contains(r#"namespace=\"shop\", nest=\"prices\""#), "{text}");
        assert!(text.contains("400000"), "{text}");
    }

    #[test]
    fn labels_of_the_spec_do_not_replace_those_by_which_children_are_known() {
        let mut nest = managed();
        let labels = [
            ("release", "prometheus"),
            ("app.kubernetes.io/managed-by", "mine"),
        ];
        nest.spec.monitoring.labels = labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let objects = build(&valid(&nest)).unwrap();
        let labels = objects[0].object.metadata.labels.clone().unwrap();
        assert_eq!(labels["release"], "prometheus");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "birbnest-operator");
    }

    #[test]
    fn every_alert_has_its_runbook() {
        let runbooks = include_str!("../../../../../docs/runbooks.md");
        let alerts = ALERTS.clone().unwrap();
        let groups = alerts["groups"].as_array().unwrap();
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let alert = rule["alert"].as_str().unwrap();
            assert!(runbooks.contains(&format!("\n## {alert}\n")), "{alert}");
            let named = rule["annotations"]["runbook_url"].as_str().unwrap();
            assert_eq!(named, format!("RUNBOOKS#{}", alert.to_lowercase()));
        }
    }

    #[test]
    fn a_nest_may_have_none() {
        let mut nest = managed();
        nest.spec.monitoring.enabled = false;
        assert_eq!(build(&valid(&nest)).unwrap(), []);
    }
}
