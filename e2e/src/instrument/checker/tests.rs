#![allow(clippy::unnecessary_wraps, reason = "a row may be there or not")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Evidence, Kind, LastRead, Loss, check};
use crate::{
    instrument::history::{Call, Operation, Outcome, value_of},
    table::Row,
};

const KEY: &str = "robin";

fn operation(began: u64, ended: u64, call: Call, outcome: Outcome) -> Operation {
    Operation {
        api: 0,
        key: Arc::from(KEY),
        call,
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
        outcome,
    }
}

fn put(began: u64, ended: u64, number: u64, outcome: Outcome) -> Operation {
    operation(
        began,
        ended,
        Call::Put {
            number,
            only_if: None,
        },
        outcome,
    )
}

/// A write that took a millisecond and was acknowledged.
fn written(began: u64, number: u64, version: u64) -> Operation {
    put(began, began + 1, number, acknowledged(version))
}

fn swapped(began: u64, number: u64, base: u64, outcome: Outcome) -> Operation {
    operation(
        began,
        began + 1,
        Call::Put {
            number,
            only_if: Some(base),
        },
        outcome,
    )
}

fn acknowledged(version: u64) -> Outcome {
    Outcome::Written {
        version: Some(version),
        fresh: true,
        persisted: false,
    }
}

fn deleted(began: u64) -> Operation {
    operation(
        began,
        began + 1,
        Call::Delete,
        Outcome::Written {
            version: None,
            fresh: false,
            persisted: false,
        },
    )
}

fn read(began: u64, at_least: u64, outcome: Outcome) -> Operation {
    operation(began, began + 1, Call::Get { at_least }, outcome)
}

fn found(number: u64, version: u64) -> Outcome {
    Outcome::Found {
        version,
        value: value_of(KEY, number),
        partial: false,
    }
}

fn row(number: u64, version: i64) -> Option<Row> {
    let value = Some(format!("\"{}\"", value_of(KEY, number)));
    Some(Row {
        key: KEY.to_owned(),
        version,
        value,
        tombstone: false,
    })
}

fn tombstone(version: i64) -> Option<Row> {
    Some(Row {
        key: KEY.to_owned(),
        version,
        value: None,
        tombstone: true,
    })
}

fn rows(row: Option<Row>) -> BTreeMap<String, Row> {
    row.map(|row| (KEY.to_owned(), row)).into_iter().collect()
}

fn evidence(operations: Vec<Operation>, row: Option<Row>) -> Evidence {
    Evidence {
        operations,
        rows: rows(row),
        ..Evidence::default()
    }
}

#[track_caller]
fn assert_found(operations: Vec<Operation>, row: Option<Row>, kinds: &[Kind]) {
    let verdict = check(&evidence(operations, row));
    let found: Vec<Kind> = verdict.kinds().into_iter().collect();
    assert_eq!(found, kinds, "{:#?}", verdict.findings);
}

#[test]
fn the_newest_acknowledged_write_in_the_table_is_fine() {
    assert_found(vec![written(0, 1, 7), written(5, 2, 8)], row(2, 8), &[]);
}

#[test]
fn an_older_write_in_the_table_or_none_is_a_loss() {
    let history = || vec![written(0, 1, 7), written(5, 2, 8)];
    assert_found(history(), row(1, 7), &[Kind::Lost]);
    assert_found(history(), None, &[Kind::Lost]);
    assert_found(history(), tombstone(9), &[Kind::Lost]);
}

#[test]
fn a_write_of_unknown_outcome_may_be_stored_or_not_but_a_refused_one_may_not() {
    let history = |outcome| vec![written(0, 1, 7), put(5, 6, 2, outcome)];
    assert_found(history(Outcome::Unknown), row(1, 7), &[]);
    assert_found(history(Outcome::Unknown), row(2, 8), &[]);
    assert_found(history(Outcome::Refused), row(1, 7), &[]);
    assert_found(history(Outcome::Refused), row(2, 8), &[Kind::Phantom]);
}

#[test]
fn a_write_of_unknown_outcome_that_was_read_keeps_its_version() {
    let history = |version| {
        vec![
            put(0, 1, 1, Outcome::Unknown),
            read(5, 0, found(1, 7)),
            read(8, 0, found(1, version)),
        ]
    };
    assert_found(history(7), row(1, 7), &[]);
    assert_found(history(9), row(1, 9), &[Kind::Doubled]);
}

#[test]
fn one_version_has_one_value() {
    let history = vec![written(0, 1, 7), put(0, 9, 2, acknowledged(7))];
    assert_found(history, row(2, 7), &[Kind::Doubled]);
}

#[test]
fn a_later_write_has_a_higher_version() {
    let concurrent = vec![put(0, 9, 1, acknowledged(8)), put(1, 3, 2, acknowledged(7))];
    assert_found(concurrent, row(1, 8), &[]);
    assert_found(
        vec![written(0, 1, 8), written(5, 2, 7)],
        row(1, 8),
        &[Kind::Disordered],
    );
}

#[test]
fn what_was_deleted_stays_deleted() {
    let history = || vec![written(0, 1, 7), deleted(5)];
    assert_found(history(), None, &[]);
    assert_found(history(), tombstone(8), &[]);
    assert_found(history(), row(1, 7), &[Kind::Undeleted]);
}

#[test]
fn a_write_after_a_delete_is_not_deleted_by_it() {
    let history = || vec![deleted(0), written(5, 1, 8)];
    assert_found(history(), row(1, 8), &[]);
    assert_found(history(), tombstone(7), &[Kind::Lost]);
}

#[test]
fn a_value_of_another_key_is_a_phantom() {
    let foreign = Outcome::Found {
        version: 7,
        value: value_of("wren", 1),
        partial: false,
    };
    assert_found(
        vec![written(0, 1, 7), read(5, 0, foreign)],
        row(1, 7),
        &[Kind::Phantom],
    );
}

#[test]
fn a_value_is_not_read_before_it_was_written() {
    assert_found(
        vec![read(0, 0, found(1, 7)), written(5, 1, 7)],
        row(1, 7),
        &[Kind::Phantom],
    );
}

#[test]
fn a_read_after_a_201_sees_it() {
    let history = |outcome| vec![written(0, 1, 7), written(2, 2, 8), read(5, 0, outcome)];
    assert_found(history(found(2, 8)), row(2, 8), &[]);
    assert_found(history(found(1, 7)), row(2, 8), &[Kind::Stale]);
    assert_found(
        history(Outcome::Absent { partial: false }),
        row(2, 8),
        &[Kind::Stale],
    );
}

#[test]
fn a_read_that_is_marked_or_follows_a_202_may_be_older_and_is_counted() {
    let marked = Outcome::Found {
        version: 7,
        value: value_of(KEY, 1),
        partial: true,
    };
    let told_later = Outcome::Written {
        version: Some(8),
        fresh: false,
        persisted: false,
    };
    for (second, outcome) in [(acknowledged(8), marked), (told_later, found(1, 7))] {
        let history = vec![written(0, 1, 7), put(2, 3, 2, second), read(5, 0, outcome)];
        let verdict = check(&evidence(history, row(2, 8)));
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.older_reads, [KEY]);
    }
}

#[test]
fn who_carries_a_version_never_goes_back() {
    let later = |outcome| {
        vec![
            written(0, 1, 7),
            put(2, 3, 2, acknowledged(8)),
            read(5, 8, outcome),
        ]
    };
    assert_found(later(found(2, 8)), row(2, 8), &[]);
    assert_found(later(Outcome::Refused), row(2, 8), &[]);
    let marked = Outcome::Found {
        version: 7,
        value: value_of(KEY, 1),
        partial: true,
    };
    assert_found(later(marked), row(2, 8), &[Kind::Regressed]);
}

#[test]
fn increments_that_build_on_each_other_are_in_order() {
    let chain = vec![
        swapped(0, 1, 0, acknowledged(5)),
        swapped(2, 2, 5, acknowledged(7)),
        swapped(2, 3, 5, Outcome::Mismatch),
        swapped(4, 4, 7, Outcome::Unknown),
        swapped(8, 5, 9, acknowledged(11)),
        read(6, 0, found(4, 9)),
    ];
    assert_found(chain, row(5, 11), &[]);
}

#[test]
fn two_increments_of_the_same_version_lose_an_update() {
    let lost = vec![
        swapped(0, 1, 0, acknowledged(5)),
        swapped(2, 2, 5, acknowledged(7)),
        swapped(4, 3, 5, acknowledged(9)),
    ];
    assert_found(lost, row(3, 9), &[Kind::Unserializable]);
}

#[test]
fn a_condition_that_held_is_not_refused() {
    let refused = vec![
        swapped(0, 1, 0, acknowledged(5)),
        swapped(2, 2, 5, Outcome::Mismatch),
    ];
    assert_found(refused, row(1, 5), &[Kind::Unserializable]);
}

#[test]
fn in_the_end_every_api_answers_what_the_table_holds() {
    let last = |found: Option<(u64, String)>| LastRead {
        api: 1,
        key: KEY.to_owned(),
        found,
    };
    let mut evidence = evidence(vec![written(0, 1, 7), written(5, 2, 8)], row(2, 8));
    evidence.last_reads = vec![last(Some((8, value_of(KEY, 2))))];
    assert_eq!(check(&evidence).findings, []);
    evidence.last_reads = vec![last(Some((7, value_of(KEY, 1))))];
    assert_eq!(
        check(&evidence).kinds().into_iter().collect::<Vec<_>>(),
        [Kind::Disagreeing]
    );
    evidence.last_reads = vec![last(None)];
    assert_eq!(
        check(&evidence).kinds().into_iter().collect::<Vec<_>>(),
        [Kind::Disagreeing]
    );
}

#[test]
fn what_goes_with_a_replaced_store_is_declared_unless_postgresql_had_it() {
    let history = || vec![written(0, 1, 7), written(20, 2, 8)];
    let loss = |kept| Loss {
        from: Duration::from_millis(10),
        to: Duration::from_millis(30),
        kept: rows(kept),
    };
    let mut gone = evidence(history(), row(1, 7));
    gone.losses = vec![loss(row(1, 7))];
    assert_eq!(check(&gone).findings, []);
    assert_eq!(check(&gone).declared, [KEY]);
    gone.losses = vec![loss(row(2, 8))];
    assert_eq!(check(&gone).kinds().into_iter().collect::<Vec<_>>(), [Kind::Lost]);
    let mut older = evidence(history(), None);
    older.losses = vec![loss(row(1, 7))];
    assert_eq!(
        check(&older).kinds().into_iter().collect::<Vec<_>>(),
        [Kind::Lost]
    );
}

#[test]
fn what_was_acknowledged_as_persisted_does_not_go_with_the_store() {
    let persisted = Outcome::Written {
        version: Some(8),
        fresh: true,
        persisted: true,
    };
    let mut gone = evidence(vec![put(20, 21, 2, persisted)], None);
    gone.losses = vec![Loss {
        from: Duration::from_millis(10),
        to: Duration::from_millis(30),
        kept: rows(None),
    }];
    assert_eq!(check(&gone).kinds().into_iter().collect::<Vec<_>>(), [Kind::Lost]);
}

#[test]
fn an_answer_that_is_not_promised_is_found() {
    let answer = put(0, 1, 1, Outcome::OutOfContract("500 oops".to_owned()));
    assert_found(vec![answer], None, &[Kind::OutOfContract]);
}
