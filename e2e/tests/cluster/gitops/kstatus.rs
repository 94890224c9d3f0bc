//! The health of an object as Flux, kpt and everybody who uses kstatus compute it.

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    InProgress,
    Failed,
    Current,
    Terminating,
}

/// The rules for a kind that kstatus does not know: `Compute` of
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/status/status.go>, which asks
/// `checkGenericProperties` of generic.go first and `checkReadyCondition` of core.go last:
///
/// 1. a `deletionTimestamp`: Terminating;
/// 2. a `status.observedGeneration` that is there and is not `metadata.generation`: `InProgress`;
/// 3. in their order, a condition Reconciling that is True: `InProgress`; one Stalled that is True: Failed;
/// 4. a condition Ready: Current when it is True, else `InProgress`;
/// 5. nothing of that: Current.
pub(super) fn health(object: &Value) -> Health {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Health::Terminating;
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return Health::InProgress;
    }
    let conditions = object["status"]["conditions"].as_array();
    let told = || {
        let conditions = conditions.into_iter().flatten();
        conditions.map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            (text("type"), text("status"))
        })
    };
    let standard = told().find_map(|condition| match condition {
        ("Reconciling", "True") => Some(Health::InProgress),
        ("Stalled", "True") => Some(Health::Failed),
        _ => None,
    });
    let ready = || told().find(|(kind, _)| *kind == "Ready");
    standard.unwrap_or_else(|| match ready() {
        Some((_, status)) if status != "True" => Health::InProgress,
        _ => Health::Current,
    })
}
