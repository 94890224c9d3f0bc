//! Everything is killed under load, and no promise is broken. And the instrument that says so notices when one is.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod planted;

use birbnest_e2e::{
    house::House,
    instrument::{
        crew::Size,
        faults::short,
        report::Report,
        run::{Finished, Instrument},
    },
};

/// Any number: it decides which client asks for what.
const SEED: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_no_promise_is_broken() {
    let house = House::plan().apis(2).workers(2).links().open().await;
    let mut instrument = Instrument::new(&house, Size::default(), SEED);
    for (fault, length) in short() {
        instrument.round(fault, length).await;
    }
    let report = told(&instrument.finish().await);
    assert!(report.is_clean(), "{report}");
    assert!(
        report.lines.iter().all(|line| line.acknowledged > 100),
        "{report}"
    );
}

/// The report, which is also shown.
fn told(finished: &Finished) -> Report {
    let report = Report::new(SEED, finished);
    eprintln!("{report}");
    report
}
