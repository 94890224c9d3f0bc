//! What the operator's rule must be in comparison with KEDA's, whatever its threshold.

use birbnest_scaling::table::{Line, lines};

#[test]
fn no_threshold_of_keda_dominates_the_operators_rule() {
    for line in lines() {
        for (threshold, cost) in &line.keda {
            assert!(
                !cost.dominates(&line.ours),
                "{}: {cost:?} with {threshold}, against {:?}",
                line.name,
                line.ours
            );
        }
    }
}

#[test]
fn it_waits_less_than_the_best_of_keda_for_about_as_many_workers() {
    for line in lines() {
        let (threshold, best) = line.best();
        let Line { name, ours, .. } = line;
        let told = format!("{name}: {ours:?} against {best:?} with {threshold}");
        assert!(ours.backlog_seconds <= best.backlog_seconds, "{told}");
        assert!(ours.worker_seconds * 10 <= best.worker_seconds * 11, "{told}");
    }
}

#[test]
fn it_is_calm() {
    for line in lines() {
        let turns = line.ours.turns_per_hour();
        assert!(turns <= 12.0, "{}: {turns} turns an hour", line.name);
    }
}
