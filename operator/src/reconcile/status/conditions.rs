//! Conditions, from what was answered. Pure.
//!
//! `Ready`, `Reconciling` and `Stalled` are those of kstatus, by which Argo CD and Flux see health:
//! <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>.

use birbnest_crds::BirbNest;
use birbnest_stores::jetstream::provision::{Change, Provisioned};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::durability::{self, Posture};
use crate::{
    events::Happening,
    reconcile::{
        apply::Applied,
        facts::{Rollout, Why},
    },
};

pub(super) const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
const MIGRATIONS: &str = "MigrationsComplete";
const STREAMS: &str = "StreamsReady";
const API: &str = "APIAvailable";
const WORKERS: &str = "WorkersAvailable";
pub(super) const DURABILITY: &str = "DurabilityReady";

/// The reason of pods that serve although somebody else sets their number, too.
const CONTESTED: &str = "ReplicasContested";

/// Kubernetes takes no longer message in a condition.
const LONGEST_MESSAGE: usize = 32_768;

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) type_: &'static str,
    pub(super) holds: bool,
    pub(super) why: Why,
}

impl Finding {
    pub(super) fn holds(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_,
            holds: true,
            why: Why::waiting(reason, message),
        }
    }

    pub(super) fn fails(type_: &'static str, why: Why) -> Self {
        Self {
            type_,
            holds: false,
            why,
        }
    }

    fn not(type_: &'static str, reason: &'static str, message: &str) -> Self {
        Self::fails(type_, Why::waiting(reason, message))
    }
}

/// Everything that there is to say about a nest that was applied.
pub(super) fn assess(nest: &BirbNest, applied: &Applied) -> Vec<Finding> {
    let migration = match &applied.migration {
        Ok(done) => Finding::holds(
            MIGRATIONS,
            "Migrated",
            format!("the schema has version {}", done.schema_version()),
        ),
        Err(why) => Finding::fails(MIGRATIONS, why.clone()),
    };
    let streams = match &applied.streams {
        Ok(streams) => Finding::holds(STREAMS, "Provisioned", streams_are_there(streams.len())),
        Err(why) => Finding::fails(STREAMS, why.clone()),
    };
    let parts = [
        migration,
        streams,
        pods(API, applied.api.as_ref(), "API pods"),
        pods(WORKERS, applied.worker.as_ref(), "workers"),
    ];
    let rollout = rollout(applied);
    let mut findings = summary(&parts, rollout.as_ref());
    findings.extend(parts);
    findings.push(durability::assess(&posture(
        nest,
        applied,
        &applied.backends.names(),
    )));
    findings
}

/// Redis alone makes nobody a nest for trying out: it holds copies.
fn posture<'a>(nest: &BirbNest, applied: &'a Applied, managed: &'a [String]) -> Posture<'a> {
    let runs_nats = nest.spec.nats.managed.is_some();
    let runs_a_store = runs_nats || nest.spec.postgres.managed.is_some();
    Posture {
        streams: applied.streams.as_ref().err(),
        copies: applied.replicas_of_the_log,
        managed: if runs_a_store { managed } else { &[] },
        runs_nats,
        connections: applied.connections,
        facts: &applied.facts,
    }
}

fn streams_are_there(count: usize) -> String {
    match count {
        1 => "the stream is as it should be".to_owned(),
        _ => format!("the {count} streams are as they should be"),
    }
}

fn pods(type_: &'static str, rollout: Option<&Rollout>, what: &str) -> Finding {
    let Some(rollout) = rollout else {
        return Finding::fails(
            type_,
            Why::waiting("NotRolledOut", format!("there are no {what} yet")),
        );
    };
    let mut count = format!("{} of {} {what} are ready", rollout.ready, rollout.desired);
    if let Some(contest) = &rollout.contest {
        count = format!("{count}; {contest}");
    }
    if rollout.serves() {
        let reason = if rollout.contest.is_some() {
            CONTESTED
        } else if rollout.desired == 0 {
            "ScaledToZero"
        } else {
            "Available"
        };
        return Finding::holds(type_, reason, count);
    }
    match &rollout.trouble {
        Some(why) => Finding::fails(
            type_,
            Why {
                message: format!("{count}; {}", why.message),
                ..why.clone()
            },
        ),
        None => Finding::fails(type_, Why::waiting("NotAvailable", count)),
    }
}

/// What keeps serving pods from being all that the spec asks for.
fn rollout(applied: &Applied) -> Option<Why> {
    if let Err(why) = applied.backends.all_ready() {
        return Some(why);
    }
    // The autoscaler and scaling change the number of pods at any time: that is no rollout.
    let fixed = !applied.api_is_autoscaled;
    for (rollout, full, what) in [(&applied.api, fixed, "API"), (&applied.worker, false, "workers")] {
        let Some(rollout) = rollout else { continue };
        if rollout.is_complete() && (!full || rollout.is_full()) {
            continue;
        }
        let progress = progress(rollout, what);
        return Some(match &rollout.trouble {
            Some(why) => Why {
                message: format!("{progress}; {}", why.message),
                ..why.clone()
            },
            None => Why::waiting("RollingOut", progress),
        });
    }
    None
}

/// Old pods go when new ones are ready, so as long as there are some, new ones are not.
fn progress(rollout: &Rollout, what: &str) -> String {
    let Rollout {
        updated,
        desired,
        ready,
        total,
        ..
    } = rollout;
    match total - updated {
        0 => format!("{what}: {updated} of {desired} pods are new, {ready} are ready"),
        old => format!(
            "{what}: {updated} of {desired} pods are new and not all of these are ready; {old} old ones go on"
        ),
    }
}

/// kstatus: ready when nothing is missing; stalled when a person has to act; else reconciling.
fn summary(parts: &[Finding], rollout: Option<&Why>) -> Vec<Finding> {
    let missing = || {
        parts
            .iter()
            .filter(|part| !part.holds)
            .map(|part| &part.why)
            .chain(rollout)
    };
    match (missing().find(|why| !why.passes), missing().next()) {
        (Some(blocker), _) => stalled(blocker),
        (None, Some(first)) => vec![
            Finding::fails(READY, first.clone()),
            Finding::holds(RECONCILING, first.reason, &first.message),
            Finding::not(STALLED, "Progressing", "nothing is in the way"),
        ],
        (None, None) => vec![
            Finding::holds(READY, "Complete", "everything that the spec asks for is there"),
            Finding::not(RECONCILING, "Complete", "nothing is left to do"),
            Finding::not(STALLED, "Complete", "nothing is in the way"),
        ],
    }
}

fn stalled(blocker: &Why) -> Vec<Finding> {
    vec![
        Finding::fails(READY, blocker.clone()),
        Finding::not(RECONCILING, blocker.reason, "it goes on when the cause is gone"),
        Finding::holds(STALLED, blocker.reason, &blocker.message),
    ]
}

/// A reconciliation ended early.
pub(super) fn failed(reason: &'static str, message: &str, stalls: bool) -> Vec<Finding> {
    let why = Why {
        reason,
        message: message.to_owned(),
        passes: !stalls,
    };
    summary(&[], Some(&why))
}

/// The nest is left as it is. What its spec asks for besides may not be there, so nobody must take it for current.
pub(super) fn paused() -> Vec<Finding> {
    let message = "spec.paused is true: nothing is reconciled or scaled until it is false";
    vec![
        Finding::holds(RECONCILING, "Paused", message),
        Finding::not(STALLED, "Paused", message),
    ]
}

/// The nest is being deleted.
pub(super) fn leaving(message: &str) -> Vec<Finding> {
    summary(&[], Some(&Why::waiting("Deleting", message)))
}

/// Puts findings in the place of the conditions of their type. Times move only with the status.
pub(super) fn stamp(findings: &[Finding], before: &[Condition], generation: Option<i64>) -> Vec<Condition> {
    let mut conditions = before.to_vec();
    for finding in findings {
        let status = if finding.holds { "True" } else { "False" };
        let earlier = conditions
            .iter()
            .position(|condition| condition.type_ == finding.type_);
        let since = earlier
            .map(|place| &conditions[place])
            .filter(|condition| condition.status == status)
            .map_or_else(
                || Time(Timestamp::now()),
                |condition| condition.last_transition_time.clone(),
            );
        let condition = Condition {
            type_: finding.type_.to_owned(),
            status: status.to_owned(),
            reason: finding.why.reason.to_owned(),
            message: finding.why.message.chars().take(LONGEST_MESSAGE).collect(),
            last_transition_time: since,
            observed_generation: generation,
        };
        match earlier {
            Some(place) => conditions[place] = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}

/// Events for the conditions whose status or reason changed. `Reconciling` and `Stalled` only repeat what the others say.
pub(super) fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Happening> {
    let told = |condition: &&Condition| condition.type_ != RECONCILING && condition.type_ != STALLED;
    let changed = |condition: &&Condition| {
        let earlier = before.iter().find(|earlier| earlier.type_ == condition.type_);
        earlier.is_none_or(|earlier| earlier.status != condition.status || earlier.reason != condition.reason)
    };
    let happening = |condition: &Condition| Happening {
        warning: match condition.reason.as_str() {
            CONTESTED => true,
            reason => condition.status != "True" && !PASSING.contains(&reason),
        },
        reason: condition.reason.clone(),
        action: condition.type_.clone(),
        note: condition.message.clone(),
    };
    after.iter().filter(told).filter(changed).map(happening).collect()
}

/// Reasons that belong to every rollout: nobody needs to be warned of them.
const PASSING: [&str; 8] = [
    "BackendsStarting",
    "Deleting",
    "MigrationRunning",
    "NotAvailable",
    "NotRolledOut",
    "Paused",
    "RollingOut",
    "SingleNode",
];

/// The event about a stream that was not as it should be.
pub(super) fn repair(stream: &Provisioned) -> Option<Happening> {
    let mut done = Vec::new();
    let mut warning = false;
    for (change, what) in [
        (&stream.stream_change, "stream"),
        (&stream.consumer_change, "consumer"),
    ] {
        match change {
            Change::None => {}
            Change::Created => done.push(format!("{what} created")),
            Change::Repaired(settings) => {
                done.push(format!("{what} set right ({})", settings.join(", ")));
                warning = true;
            }
        }
    }
    (!done.is_empty()).then(|| Happening {
        warning,
        reason: "StreamProvisioned".to_owned(),
        action: stream.stream.clone(),
        note: format!("{}: {}", stream.stream, done.join(", ")),
    })
}

#[cfg(test)]
mod tests;
