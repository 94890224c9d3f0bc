//! Everything is killed under load, and no promise is broken. And the instrument that says so notices when one is.

mod planted;

use std::time::Duration;

use birbnest_core::{OnQueueOutage, config::Config};
use birbnest_e2e::{
    house::House,
    instrument::{
        crew::Size,
        faults::{Fault, Target, Trouble, short},
        report::Report,
        run::{Finished, Instrument},
    },
};

/// Any number: it decides which client asks for what.
const SEED: u64 = 7;
/// How long a fault lasts.
const LENGTH: Duration = Duration::from_millis(700);
/// How long NATS is away when PostgreSQL takes the writes meanwhile: it does after some ten seconds.
const OUTAGE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_no_promise_is_broken() {
    let house = House::plan().apis(2).workers(2).links().open().await;
    no_promise_is_broken(&house, short(), LENGTH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_may_be_killed() {
    let house = House::plan().apis(2).workers(2);
    let house = house.redis_sentinels().nats_cluster().standby().open().await;
    let leaders = [Target::Redis, Target::Nats, Target::Postgres];
    let mut faults = vec![Fault::TwoMasters];
    faults.extend(leaders.map(Fault::FailOver));
    no_promise_is_broken(&house, faults, LENGTH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_may_take_the_writes_in_between() {
    let through = |config: &mut Config| config.cache.on_queue_outage = OnQueueOutage::WriteThrough;
    let house = House::plan().apis(2).workers(2).links().config(through);
    let house = house.open().await;
    let faults = vec![
        Fault::Kill(vec![Target::Nats]),
        Fault::Network(Trouble::Cut, Target::Nats),
        Fault::Kill(vec![Target::Postgres, Target::Nats]),
    ];
    no_promise_is_broken(&house, faults, OUTAGE).await;
    for api in &house.apis {
        let through = api.metric("birbnest_api_writes_through_total").await;
        assert!(through > 100.0, "{through} writes went past the queue");
    }
}

async fn no_promise_is_broken(house: &House, faults: Vec<Fault>, length: Duration) {
    let mut instrument = Instrument::new(house, Size::default(), SEED);
    for fault in faults {
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
