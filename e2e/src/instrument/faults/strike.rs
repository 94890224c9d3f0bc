//! How a fault is brought about and mended.

use std::time::Duration;

use birbnest_core::StreamNames;
use tokio::time::sleep;

use super::{
    Fault, Target, Trouble,
    failover::{fail_over, two_masters},
};
use crate::{
    house::House,
    instrument::{
        checker::Loss,
        crew::{Crew, Run},
    },
    servers::FAILOVER,
    wait::eventually_within,
};

/// Requests between the parts of a fault that has several.
const MEANWHILE: u64 = 300;
/// How often what happens over and over happens.
const TIMES: u32 = 4;
/// Partitions before and after a change.
const PARTITIONS: [u16; 2] = [4, 6];
/// How long a packet takes on a slow way.
const DELAY: Duration = Duration::from_millis(50);

/// A fault that is over.
#[derive(Debug)]
pub struct Strike {
    /// When it began.
    pub began: Duration,
    /// When it was mended.
    pub mended: Duration,
    /// What may be lost by it.
    pub loss: Option<Loss>,
}

/// Brings a fault about, keeps it for `length` while the crew goes on, and mends it.
///
/// # Panics
/// When a server does not come back.
pub async fn strike(house: &House, crew: &Crew, run: &Run, fault: &Fault, length: Duration) -> Strike {
    let began = run.now();
    let loss = bring_about(house, crew, run, fault, length).await;
    Strike {
        began,
        mended: run.now(),
        loss,
    }
}

async fn bring_about(house: &House, crew: &Crew, run: &Run, fault: &Fault, length: Duration) -> Option<Loss> {
    match fault {
        Fault::Calm => sleep(length).await,
        Fault::Kill(targets) => kill(house, targets, length).await,
        Fault::KillOften(target) => {
            for _ in 0..TIMES {
                kill(house, &[*target], length / TIMES).await;
            }
        }
        Fault::Freeze(targets) => {
            for target in targets {
                target.freeze(house).await;
            }
            sleep(length).await;
            for target in targets {
                target.thaw(house);
            }
        }
        Fault::FailOver(target) => fail_over(house, *target, length).await,
        Fault::TwoMasters => two_masters(house, length).await,
        Fault::OtherPartitions(meanwhile) => {
            let meanwhile = bring_about(house, crew, run, meanwhile, length);
            return other_partitions(house, Box::pin(meanwhile), length).await;
        }
        Fault::Flush => flush(house, length).await,
        Fault::OldSnapshot => old_snapshot(house, crew, length).await,
        Fault::OlderStore => return older_store(house, crew, run, length).await,
        Fault::FullStreams => full_streams(house, length).await,
        Fault::RejectedRows => rejected_rows(house, length).await,
        Fault::NoConnections => {
            let taken = house.postgres.take_all_connections().await;
            sleep(length).await;
            drop(taken);
        }
        Fault::ReadOnly => read_only(house, length).await,
        Fault::FullDisk => full_disk(house, length).await,
        Fault::Network(trouble, target) => {
            let link = target.link(house);
            match trouble {
                Trouble::Cut => link.cut(),
                Trouble::Silence => link.silence(),
                Trouble::Delay => link.slow(DELAY),
            }
            sleep(length).await;
            link.mend();
        }
        Fault::Clock(target, hours) => {
            target.shift_clock(house, hours * 3_600);
            kill(house, &[*target], Duration::ZERO).await;
            sleep(length).await;
            target.shift_clock(house, 0);
            kill(house, &[*target], Duration::ZERO).await;
        }
    }
    None
}

async fn kill(house: &House, targets: &[Target], length: Duration) {
    for target in targets {
        target.kill(house);
    }
    sleep(length).await;
    for target in targets.iter().rev() {
        target.start(house).await;
    }
}

/// A run that fails because of what goes wrong meanwhile is made again, and one more finds what a failover has undone.
async fn other_partitions(
    house: &House,
    meanwhile: impl Future<Output = Option<Loss>>,
    length: Duration,
) -> Option<Loss> {
    let [few, many] = PARTITIONS;
    let partitions = if house.layout().count() == few { many } else { few };
    let change = || {
        eventually_within(FAILOVER, "the keys are spread", || {
            house.try_spread_over(partitions)
        })
    };
    let meanwhile = async {
        sleep(length).await;
        meanwhile.await
    };
    let (_, loss) = tokio::join!(change(), meanwhile);
    change().await;
    loss
}

async fn flush(house: &House, length: Duration) {
    for _ in 0..TIMES {
        let (master, _) = house.until_redis_master().await;
        master.flush().await;
        sleep(length / TIMES).await;
    }
}

async fn old_snapshot(house: &House, crew: &Crew, length: Duration) {
    house.redis.save().await;
    crew.until_served(MEANWHILE).await;
    house.redis.process().kill9();
    sleep(length).await;
    house.redis.start().await;
}

/// Nothing may be lost when other members have it.
async fn older_store(house: &House, crew: &Crew, run: &Run, length: Duration) -> Option<Loss> {
    house.nats.stop().await;
    let from = run.now();
    house.nats.copy_store();
    house.nats.start().await;
    sleep(length).await;
    crew.until_served(MEANWHILE).await;
    house.nats.stop().await;
    let kept = house.table.rows().await;
    house.nats.restore_store();
    let to = run.now();
    house.nats.start().await;
    house.nats_peers.is_empty().then_some(Loss { from, to, kept })
}

/// A stream with a limit of one message refuses every key that it does not hold.
async fn full_streams(house: &House, length: Duration) {
    set_limit(house, 1).await;
    sleep(length).await;
    set_limit(house, house.config.stream.max_messages.cast_signed()).await;
}

async fn set_limit(house: &House, messages: i64) {
    let jetstream = house.nats.jetstream().await;
    let names = StreamNames::new(&house.config.stream.prefix);
    for partition in house.layout().partitions() {
        let name = names.stream(partition);
        let stream = jetstream.get_stream(&name).await;
        let mut config = stream
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .cached_info()
            .config
            .clone();
        config.max_messages = messages;
        let changed = jetstream.update_stream(config).await;
        changed.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

async fn rejected_rows(house: &House, length: Duration) {
    let table = format!("{}.cache_entries", house.config.postgres.schema);
    let constraint = format!("ALTER TABLE {table} ADD CONSTRAINT fault CHECK (key NOT LIKE '%3') NOT VALID");
    house.postgres.run(&constraint).await;
    sleep(length).await;
    house
        .postgres
        .run(&format!("ALTER TABLE {table} DROP CONSTRAINT fault"))
        .await;
}

async fn read_only(house: &House, length: Duration) {
    house.postgres.read_only(true).await;
    sleep(length).await;
    house.postgres.read_only(false).await;
}

/// A stream whose write has failed is silent until the server is started again.
async fn full_disk(house: &House, length: Duration) {
    house.nats.fill_disk();
    sleep(length).await;
    house.nats.clear_disk();
    kill(house, &[Target::Nats], Duration::ZERO).await;
}
