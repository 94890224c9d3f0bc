//! The objects as they are applied, for nests that differ in what decides about them.

use birbnest_crds::BirbNest;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::reconcile::fixtures::{external, managed, nest, valid, valid_with};

fn plan(nest: &BirbNest) -> Plan {
    build(&valid(nest)).unwrap()
}

/// Every object of a plan in the order of the rollout, each under its kind.
#[derive(Serialize)]
struct Shown<'a> {
    credentials: Option<Value>,
    backend_accounts: &'a [ServiceAccount],
    backend_services: &'a [Service],
    backend_sets: &'a [StatefulSet],
    config_map: &'a ConfigMap,
    accounts: &'a [ServiceAccount],
    network_policies: &'a [NetworkPolicy],
    streams: &'a StreamConfig,
    migration: &'a Job,
    api: &'a Deployment,
    worker: &'a Deployment,
    services: &'a [Service],
    autoscaler: Option<&'a HorizontalPodAutoscaler>,
    disruption_budgets: &'a [PodDisruptionBudget],
    ingress: Option<&'a Ingress>,
    route: Option<&'a Foreign>,
    pod_monitor: Option<&'a Foreign>,
}

impl<'a> Shown<'a> {
    fn of(plan: &'a Plan) -> Self {
        let secret = plan
            .managed
            .credentials
            .as_ref()
            .and_then(|wanted| wanted.complete(None, || "random".to_owned()));
        let keys = |secret: Secret| {
            let text = |value: ByteString| String::from_utf8(value.0).unwrap();
            let data = secret.data.unwrap_or_default();
            data.into_iter()
                .map(|(key, value)| (key, Value::from(text(value))))
                .collect()
        };
        Self {
            credentials: secret.map(keys).map(Value::Object),
            backend_accounts: &plan.managed.service_accounts,
            backend_services: &plan.managed.services,
            backend_sets: &plan.managed.stateful_sets,
            config_map: &plan.config.config_map,
            accounts: &plan.config.service_accounts,
            network_policies: &plan.config.network_policies,
            streams: &plan.streams,
            migration: &plan.migration.job,
            api: &plan.workloads.api,
            worker: &plan.workloads.worker,
            services: &plan.workloads.services,
            autoscaler: plan.workloads.autoscaler.as_ref(),
            disruption_budgets: &plan.workloads.disruption_budgets,
            ingress: plan.workloads.ingress.as_ref(),
            route: plan.workloads.route.as_ref(),
            pod_monitor: plan.workloads.monitoring.first(),
        }
    }
}

#[test]
fn a_minimal_nest_with_managed_backends() {
    insta::assert_yaml_snapshot!(Shown::of(&plan(&managed())));
}

#[test]
fn a_minimal_nest_with_backends_of_the_users_own() {
    insta::assert_yaml_snapshot!(Shown::of(&plan(&external())));
}

#[test]
fn a_nest_with_everything_set() {
    let spec = include_str!("everything.yaml");
    insta::assert_yaml_snapshot!(Shown::of(&plan(&nest(&serde_yaml::from_str(spec).unwrap()))));
}

#[test]
fn an_autoscaled_api_leaves_its_replicas_to_the_autoscaler() {
    let mut nest = managed();
    nest.spec.api = serde_json::from_value(json!({ "autoscaling": { "max": 6 } })).unwrap();
    let plan = plan(&nest);
    assert_eq!(plan.workloads.api.spec.as_ref().unwrap().replicas, None);
    insta::assert_yaml_snapshot!(plan.workloads.autoscaler);
}

#[test]
fn nobody_but_scaling_says_how_many_workers_there_are() {
    assert_eq!(plan(&managed()).workloads.worker.spec.unwrap().replicas, None);
}

#[test]
fn the_same_nest_gives_the_same_plan() {
    assert_eq!(plan(&managed()), plan(&managed()));
}

#[test]
fn a_new_batch_size_rolls_the_workers_and_nothing_else() {
    let before = plan(&managed());
    let mut nest = managed();
    nest.spec.worker.batch.size = 250;
    let after = plan(&nest);
    assert_ne!(before.workloads.worker, after.workloads.worker);
    assert_eq!(before.workloads.api, after.workloads.api);
    assert_eq!(before.migration, after.migration);
    assert_eq!(before.managed, after.managed);
}

#[test]
fn an_address_that_changed_rolls_every_pod_and_migrates_again() {
    let before = build(&valid_with(&external(), "one")).unwrap();
    let after = build(&valid_with(&external(), "two")).unwrap();
    assert_ne!(before.workloads.api, after.workloads.api);
    assert_ne!(before.workloads.worker, after.workloads.worker);
    assert_ne!(
        before.migration.job.metadata.name,
        after.migration.job.metadata.name
    );
}

#[test]
fn a_new_schema_is_a_new_job_that_the_pods_name() {
    let before = plan(&managed());
    let mut next = valid(&managed());
    next.release.schema_version += 1;
    let after = build(&next).unwrap();
    let name = |plan: &Plan| plan.migration.job.metadata.name.clone().unwrap();
    assert_ne!(name(&before), name(&after));
    let annotations = after.workloads.api.metadata.annotations.clone().unwrap();
    assert_eq!(annotations[MIGRATION_ANNOTATION], name(&after));
}

#[test]
fn removing_the_schema_is_a_job_of_its_own() {
    let job = schema_removal(&valid(&managed())).unwrap();
    let name = job.metadata.name.unwrap();
    assert!(
        name.starts_with("prices-migrate-") && name.ends_with("-drop"),
        "{name}"
    );
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        pod.containers[0].args.clone().unwrap().last().unwrap(),
        "--drop-schema"
    );
    assert_eq!(pod.service_account_name.unwrap(), "prices-migrate");
}

#[test]
fn names_fit_when_the_nests_name_is_as_long_as_it_may_be() {
    let mut nest = managed();
    nest.metadata.name = Some("n".repeat(40));
    let (plan, removal) = (plan(&nest), schema_removal(&valid(&nest)).unwrap());
    for job in [plan.migration.job, removal] {
        let name = job.metadata.name.unwrap();
        assert!(name.len() <= 63, "{name}");
    }
    for set in plan.managed.stateful_sets {
        let name = set.metadata.name.unwrap();
        // Its pods carry a label of this name, a dash and ten digits.
        assert!(name.len() + 11 <= 63, "{name}");
    }
}
