//! Who else sets the replicas of a Deployment whose replicas are the operator's.
//!
//! The API server's book of whose each field is tells who set them last, and when. What stood there at the first look at a
//! nest counts as settled: nobody is blamed for what was done while no operator looked, or while the nest was paused. Whatever
//! comes later is set back each time, and told for as long as it goes on.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use crate::{
    answers::owns_replicas,
    cluster::{FIELD_MANAGER, SCALER},
    reconcile::NestId,
};

/// For so long after the last time that somebody else set them: an autoscaler comes every 15 s, Argo CD and Flux after
/// minutes.
const TOLD_FOR: Duration = Duration::from_mins(5);

/// That somebody else set the replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name as a field manager, where the book has one.
    pub manager: Option<String>,
    /// How many it wants.
    pub replicas: i32,
    at: Option<Time>,
}

impl Claim {
    /// The newest one that the book has. `None` when the replicas are the operator's, or nobody's; but a scale to zero is
    /// somebody's where the operator itself keeps at least so many: the book leaves out a zero that came through the scale
    /// subresource, and with it its owner.
    pub fn on(deployment: &Deployment, least: i32) -> Option<Self> {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas)?;
        let foreign = deployment.managed_fields().iter().filter(|entry| {
            let ours = [FIELD_MANAGER, SCALER];
            owns_replicas(entry) && !ours.contains(&entry.manager.as_deref().unwrap_or_default())
        });
        let newest = foreign.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
        (newest.is_some() || replicas == 0 && least > 0).then(|| Self {
            manager: newest.and_then(|entry| entry.manager.clone()),
            replicas,
            at: newest.and_then(|entry| entry.time.clone()),
        })
    }

    /// Who that is, as a person knows it.
    pub fn author(&self) -> String {
        let Some(manager) = self.manager.as_deref() else {
            return "somebody (scaling to zero leaves no name)".to_owned();
        };
        let known = match manager {
            "kube-controller-manager" => "a HorizontalPodAutoscaler",
            "argocd-controller" | "argocd-application-controller" => "Argo CD",
            "kustomize-controller" | "helm-controller" => "Flux",
            "helm" => "Helm",
            other if other.starts_with("kubectl") => "kubectl",
            other => return format!("the field manager {other}"),
        };
        format!("{known} (field manager {manager})")
    }
}

/// The autoscaler that scales this Deployment, if there is one.
pub fn autoscaler_of<'a>(
    deployment: &str,
    autoscalers: &'a [HorizontalPodAutoscaler],
) -> Option<&'a HorizontalPodAutoscaler> {
    autoscalers.iter().find(|autoscaler| {
        autoscaler.spec.as_ref().is_some_and(|spec| {
            let target = &spec.scale_target_ref;
            target.kind == "Deployment" && target.name == deployment
        })
    })
}

/// What is known of each Deployment.
#[derive(Default)]
pub struct Contests(Mutex<HashMap<NestId, HashMap<String, Known>>>);

#[derive(Default)]
struct Known {
    claim: Option<Claim>,
    told: Option<(Instant, String)>,
}

impl Contests {
    /// Whether this is new, and so a contest. What is new is in words for [`Contests::tell`].
    pub fn is_new(&self, id: &NestId, deployment: &str, claim: Option<&Claim>) -> bool {
        let mut nests = self.lock();
        let nest = nests.entry(id.clone()).or_default();
        let Some(known) = nest.get_mut(deployment) else {
            let settled = Known {
                claim: claim.cloned(),
                told: None,
            };
            nest.insert(deployment.to_owned(), settled);
            return false;
        };
        let is_new = claim.is_some() && known.claim.as_ref() != claim;
        known.claim = claim.cloned();
        is_new
    }

    /// Says so from now on, for a while.
    pub fn tell(&self, id: &NestId, deployment: &str, told: String, now: Instant) {
        let mut nests = self.lock();
        let nest = nests.entry(id.clone()).or_default();
        nest.entry(deployment.to_owned()).or_default().told = Some((now, told));
    }

    /// What there is to say.
    pub fn told(&self, id: &NestId, deployment: &str, now: Instant) -> Option<String> {
        let nests = self.lock();
        let (since, told) = nests.get(id)?.get(deployment)?.told.as_ref()?;
        (now.duration_since(*since) < TOLD_FOR).then(|| told.clone())
    }

    /// Nobody looks at the nest any more.
    pub fn forget(&self, id: &NestId) {
        self.lock().remove(id);
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<NestId, HashMap<String, Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::reconcile::fixtures;

    fn deployment(entries: &[(&str, &str, Value)]) -> Deployment {
        let entries = entries.iter().map(|(manager, time, fields)| {
            json!({"manager": manager, "time": time, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields})
        });
        let entries: Vec<_> = entries.collect();
        serde_json::from_value(
            json!({"metadata": {"managedFields": entries}, "spec": {"replicas": 3, "selector": {}, "template": {}}}),
        )
        .unwrap()
    }

    fn replicas() -> Value {
        json!({"f:spec": {"f:replicas": {}}})
    }

    fn claim(time: &str) -> Claim {
        Claim::on(&deployment(&[("kubectl", time, replicas())]), 1).unwrap()
    }

    #[test]
    fn replicas_that_the_operator_or_nobody_set_are_claimed_by_nobody() {
        let template = json!({"f:spec": {"f:template": {}}});
        let ours = [
            (FIELD_MANAGER, "2026-01-01T00:00:00Z", replicas()),
            (SCALER, "2026-01-01T00:00:01Z", replicas()),
            ("kubectl-edit", "2026-01-01T00:00:02Z", template),
        ];
        assert_eq!(Claim::on(&deployment(&ours), 1), None);
    }

    #[test]
    fn a_zero_without_an_owner_is_somebodys_where_the_operator_keeps_one() {
        let mut idle = deployment(&[]);
        assert_eq!(Claim::on(&idle, 1), None);
        idle.spec.as_mut().unwrap().replicas = Some(0);
        assert_eq!(Claim::on(&idle, 0), None, "it may be the operator's own");
        let claim = Claim::on(&idle, 1).unwrap();
        assert!(claim.author().starts_with("somebody"), "{claim:?}");
    }

    #[test]
    fn the_newest_claim_is_told_with_its_author() {
        let claims = [
            ("helm", "2026-01-01T00:00:00Z", replicas()),
            ("kube-controller-manager", "2026-01-01T00:00:02Z", replicas()),
            ("argocd-controller", "2026-01-01T00:00:01Z", replicas()),
        ];
        let claim = Claim::on(&deployment(&claims), 1).unwrap();
        assert_eq!(
            (claim.manager.as_deref(), claim.replicas),
            (Some("kube-controller-manager"), 3)
        );
        assert!(
            claim.author().starts_with("a HorizontalPodAutoscaler"),
            "{claim:?}"
        );
    }

    #[test]
    fn an_autoscaler_is_known_by_what_it_scales() {
        let scales = |name: &str, kind: &str, target: &str| -> HorizontalPodAutoscaler {
            let reference = json!({"kind": kind, "name": target});
            serde_json::from_value(
                json!({"metadata": {"name": name}, "spec": {"scaleTargetRef": reference, "maxReplicas": 9}}),
            )
            .unwrap()
        };
        let all = [
            scales("a", "Deployment", "prices-api"),
            scales("b", "StatefulSet", "prices-worker"),
            scales("c", "Deployment", "prices-worker"),
        ];
        let found = autoscaler_of("prices-worker", &all).map(ResourceExt::name_any);
        assert_eq!(found.as_deref(), Some("c"));
        assert!(autoscaler_of("finches-worker", &all).is_none());
    }

    #[test]
    fn what_was_there_at_the_first_look_is_settled_and_each_later_claim_is_new_once() {
        let contests = Contests::default();
        let id = NestId::of(&fixtures::managed()).unwrap();
        let (first, second) = (claim("2026-01-01T00:00:00Z"), claim("2026-01-01T00:00:15Z"));
        let is_new = |claim: Option<&Claim>| contests.is_new(&id, "prices-worker", claim);
        assert!(!is_new(Some(&first)), "nobody looked when it was made");
        assert!(!is_new(Some(&first)));
        assert!(is_new(Some(&second)));
        assert!(!is_new(Some(&second)), "it is told already");
        assert!(!is_new(None), "it was set back");
        assert!(is_new(Some(&second)), "and is there again");
        contests.forget(&id);
        assert!(!is_new(Some(&second)));
    }

    #[test]
    fn a_contest_is_told_until_nobody_has_gone_on_with_it_for_a_while() {
        let contests = Contests::default();
        let id = NestId::of(&fixtures::managed()).unwrap();
        let start = Instant::now();
        contests.tell(&id, "prices-worker", "kubectl".to_owned(), start);
        let told = |after| contests.told(&id, "prices-worker", start + after);
        assert_eq!(told(TOLD_FOR / 2).as_deref(), Some("kubectl"));
        assert_eq!(told(TOLD_FOR), None);
        assert_eq!(contests.told(&id, "prices-api", start), None);
    }
}
