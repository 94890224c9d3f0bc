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
        // Who adds workers while the database is away is ready some seconds sooner when it is back.
        assert!(
            ours.backlog_seconds * 50 <= best.backlog_seconds * 51,
            "{name}: {ours:?} against {best:?} with {threshold}"
        );
    }
}

#[test]
fn it_has_few_more_workers_than_the_load_needs() {
    for line in lines() {
        let Line {
            name, ours, needed, ..
        } = line;
        let fair = ["steady", "a day in four hours", "a staircase"].contains(&name);
        assert!(
            !fair || ours.worker_seconds * 10 <= needed * 13,
            "{name}: {ours:?}, {needed} needed"
        );
    }
}

#[test]
fn it_is_calm() {
    for line in lines() {
        let turns = line.ours.turns_per_hour();
        assert!(turns <= 12.0, "{}: {turns} turns an hour", line.name);
    }
}
