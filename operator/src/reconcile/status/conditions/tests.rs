use k8s_openapi::jiff::SignedDuration;

use super::*;

fn find<'a>(conditions: &'a [Condition], type_: &str) -> &'a Condition {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap()
}

fn rollout(ready: i32, desired: i32) -> Rollout {
    Rollout {
        desired,
        ready,
        updated: desired,
        available: ready,
        total: desired,
        observed: true,
        trouble: None,
        contest: None,
    }
}

fn part(type_: &'static str) -> Finding {
    Finding::holds(type_, "Fine", "fine")
}

#[test]
fn with_everything_there_it_is_ready_and_neither_reconciling_nor_stalled() {
    let conditions = stamp(&summary(&[part(STREAMS)], None), &[], Some(4));
    assert_eq!(find(&conditions, READY).status, "True");
    assert_eq!(find(&conditions, READY).observed_generation, Some(4));
    assert_eq!(find(&conditions, RECONCILING).status, "False");
    assert_eq!(find(&conditions, STALLED).status, "False");
}

#[test]
fn what_passes_by_itself_is_reconciling() {
    let why = Why::waiting("MigrationRunning", "the Job is running");
    let conditions = stamp(&summary(&[Finding::fails(MIGRATIONS, why)], None), &[], None);
    assert_eq!(find(&conditions, READY).reason, "MigrationRunning");
    assert_eq!(find(&conditions, RECONCILING).status, "True");
    assert_eq!(find(&conditions, STALLED).status, "False");
}

#[test]
fn what_needs_a_person_is_stalled_and_comes_before_what_passes() {
    let parts = [
        Finding::fails(MIGRATIONS, Why::waiting("MigrationRunning", "the Job is running")),
        Finding::fails(
            STREAMS,
            Why::stuck("ForeignStream", "another stream stores these subjects"),
        ),
    ];
    let conditions = stamp(&summary(&parts, None), &[], None);
    assert_eq!(find(&conditions, READY).reason, "ForeignStream");
    assert_eq!(find(&conditions, STALLED).status, "True");
    assert_eq!(find(&conditions, RECONCILING).status, "False");
}

#[test]
fn a_rollout_that_is_not_over_is_not_ready() {
    let why = Why::waiting("RollingOut", "API: 1 of 2 pods are new");
    let conditions = stamp(&summary(&[part(API)], Some(&why)), &[], None);
    assert_eq!(find(&conditions, READY).reason, "RollingOut");
}

#[test]
fn times_move_only_with_the_status() {
    let long_ago = Time(Timestamp::now() - SignedDuration::from_hours(5));
    let mut before = stamp(&[part(API)], &[], Some(1));
    before[0].last_transition_time = long_ago.clone();
    let same = stamp(&[Finding::holds(API, "Other", "words")], &before, Some(2));
    assert_eq!(
        (same[0].last_transition_time.clone(), same[0].reason.as_str()),
        (long_ago.clone(), "Other")
    );
    let other = stamp(
        &[Finding::fails(API, Why::waiting("NotAvailable", ""))],
        &before,
        Some(2),
    );
    assert_ne!(other[0].last_transition_time, long_ago);
}

#[test]
fn conditions_that_nothing_is_said_about_stay() {
    let before = stamp(&[part(API), part(STREAMS)], &[], None);
    let after = stamp(&paused(), &before, None);
    assert_eq!(find(&after, API), find(&before, API));
    assert_eq!(find(&after, RECONCILING).reason, "Paused");
    assert_eq!(
        find(&after, RECONCILING).status,
        "True",
        "kstatus must not call it current"
    );
}

#[test]
fn a_change_of_status_or_reason_is_an_event_and_a_change_of_words_is_none() {
    let before = stamp(&[part(STREAMS), part(API)], &[], None);
    let why = Why::waiting("NatsUnreachable", "NATS does not answer");
    let after = stamp(
        &[
            Finding::fails(STREAMS, why),
            Finding::holds(API, "Fine", "other words"),
        ],
        &before,
        None,
    );
    let told = transitions(&before, &after);
    assert_eq!(told.len(), 1);
    assert!(told[0].warning && told[0].reason == "NatsUnreachable", "{told:?}");
}

#[test]
fn pods_say_how_many_and_why_not() {
    assert!(
        pods(API, Some(&rollout(1, 2)), "API pods").holds,
        "one pod serves"
    );
    assert_eq!(
        pods(WORKERS, Some(&rollout(0, 0)), "workers").why.reason,
        "ScaledToZero"
    );
    assert_eq!(pods(API, None, "API pods").why.reason, "NotRolledOut");
    let mut troubled = rollout(0, 2);
    troubled.trouble = Some(Why::stuck("PodsCannotStart", "pod a: ImagePullBackOff"));
    let told = pods(API, Some(&troubled), "API pods");
    assert_eq!(
        told.why.message,
        "0 of 2 API pods are ready; pod a: ImagePullBackOff"
    );
}

#[test]
fn pods_whose_number_others_set_are_available_and_a_warning() {
    let mut contested = rollout(0, 0);
    contested.contest = Some("kubectl set the replicas".to_owned());
    let before = stamp(&[pods(WORKERS, Some(&rollout(1, 1)), "workers")], &[], None);
    let after = stamp(&[pods(WORKERS, Some(&contested), "workers")], &before, None);
    let condition = find(&after, WORKERS);
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", CONTESTED)
    );
    assert_eq!(
        condition.message,
        "0 of 0 workers are ready; kubectl set the replicas"
    );
    let told = transitions(&before, &after);
    assert!(told.len() == 1 && told[0].warning, "{told:?}");
    contested.desired = 1;
    let told = pods(WORKERS, Some(&contested), "workers");
    assert!(!told.holds && told.why.message.contains("kubectl"), "{told:?}");
}

#[test]
fn old_pods_that_go_on_are_not_taken_for_new_ones_that_are_ready() {
    let mut half = rollout(2, 2);
    (half.updated, half.total) = (1, 3);
    assert_eq!(
        progress(&half, "API"),
        "API: 1 of 2 pods are new and not all of these are ready; 2 old ones go on"
    );
    (half.updated, half.total) = (1, 1);
    assert_eq!(progress(&half, "API"), "API: 1 of 2 pods are new, 2 are ready");
}
