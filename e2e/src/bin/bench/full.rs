//! What the long report has on top: it shows where the ratios of the short one hold.

use birbnest_e2e::house::House;

use crate::{
    KEYS, SIZES, Settings, Subject, drain, reads,
    report::Report,
    webdis::Webdis,
    writes::{self, Worker},
};

/// Connections beside the default.
const CONNECTIONS: [usize; 3] = [1, 16, 256];
/// Bytes of a large value.
const LARGE: usize = 100_000;
/// Keys of that size: more would fill the queue, which nobody drains meanwhile.
const LARGE_KEYS: usize = 1_000;
/// Keys beside the default.
const MANY_KEYS: usize = 200_000;
/// Backlogs beside the default.
const BACKLOGS: [u32; 2] = [1_000, 500_000];

/// Everything else about a subject.
pub(crate) async fn more(
    subject: Subject,
    house: &House,
    synced: &House,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    match subject {
        Subject::Reads => more_reads(house, settings, report).await,
        Subject::Writes => more_writes(house, synced, settings, report).await,
        Subject::Drain => more_drains(house, settings, report).await,
    }
}

async fn more_reads(house: &House, settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let [small, ..] = SIZES;
    for connections in CONNECTIONS {
        let settings = Settings {
            connections,
            ..settings.clone()
        };
        report.add(reads::compare("GET hit", house, KEYS, small, &settings).await?);
    }
    report.add(reads::compare("GET hit", house, LARGE_KEYS, LARGE, settings).await?);
    report.add(reads::compare("GET, one key", house, 1, small, settings).await?);
    report.add(reads::compare("GET, 200k keys", house, MANY_KEYS, small, settings).await?);
    report.add(reads::compare_batches(house, small, settings).await?);
    if let Some(webdis) = Webdis::start(house).await? {
        report.add(reads::compare_webdis(house, &webdis, small, settings).await?);
    }
    Ok(())
}

async fn more_writes(
    house: &House,
    synced: &House,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let [small, ..] = SIZES;
    for (name, house, worker) in [
        ("POST, lazy", house, Worker::Away),
        ("POST, synced", synced, Worker::Away),
        ("POST, draining", synced, Worker::Draining),
    ] {
        report.add(writes::compare_durabilities(name, house, worker, small, settings).await?);
    }
    for connections in CONNECTIONS {
        let settings = Settings {
            connections,
            ..settings.clone()
        };
        report.add(writes::compare("POST, lazy", house, Worker::Away, small, &settings).await?);
    }
    Ok(())
}

async fn more_drains(house: &House, settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let [small, ..] = SIZES;
    for backlog in BACKLOGS {
        let settings = Settings {
            backlog,
            ..settings.clone()
        };
        report.add(drain::compare(house, small, &settings).await?);
    }
    Ok(())
}
