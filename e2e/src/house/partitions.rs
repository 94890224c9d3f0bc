//! Which partitions a house has, and how they are changed.

use std::{
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use birbnest_core::{Layout, config::Config};

use super::{Binary, House};
use crate::{
    servers::{FAILOVER, Process},
    wait::eventually_within,
};

/// What runs the migrations again, and what came of it.
#[derive(Debug)]
pub(super) struct Runner {
    layout: RwLock<Layout>,
    addresses: Vec<(String, String)>,
    directory: PathBuf,
}

impl Runner {
    pub(super) fn new(config: &Config, addresses: Vec<(String, String)>, directory: PathBuf) -> Self {
        Self {
            layout: RwLock::new(Layout::of_new_nest(config.stream.partitions)),
            addresses,
            directory,
        }
    }
}

impl House {
    /// The partitions that it has, as far as its stories have changed them by [`House::spread_over`].
    pub fn layout(&self) -> Layout {
        *self.runner.layout.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run of `birbnest-migrate` that spreads the keys over so many partitions, not started yet.
    pub fn spreading(&self, partitions: u16) -> Process {
        let mut config = self.config.clone();
        config.stream.partitions = partitions;
        let binary = Binary::new("birbnest-migrate", &config, &self.runner.addresses);
        binary.process(&format!("spread-{partitions}"), &self.runner.directory)
    }

    /// Spreads the keys over so many partitions; returns what the run has written.
    ///
    /// # Panics
    /// When it fails.
    pub async fn spread_over(&self, partitions: u16) -> String {
        let run = self.try_spread_over(partitions).await;
        run.unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// As [`House::spread_over`], where the run may fail.
    ///
    /// # Errors
    /// Says how it ended and what it has written.
    pub async fn try_spread_over(&self, partitions: u16) -> Result<String, String> {
        let run = self.spreading(partitions);
        run.start();
        let status = eventually_within(FAILOVER, "the keys are spread over other partitions", || async {
            run.ended().ok_or("it is still running")
        })
        .await;
        let log = run.log();
        if !status.success() {
            return Err(format!("birbnest-migrate ended with {status}:\n{log}"));
        }
        self.note_spread_over(partitions);
        Ok(log)
    }

    /// Runs the migrations again, as the operator does.
    ///
    /// # Panics
    /// When that fails.
    pub async fn migrate(&self) {
        super::migrate(&self.config, &self.runner.addresses, &self.runner.directory).await;
    }

    fn note_spread_over(&self, partitions: u16) {
        let mut layout = self.runner.layout.write().unwrap_or_else(PoisonError::into_inner);
        if layout.count() != partitions {
            let next = layout.next(partitions);
            *layout =
                next.unwrap_or_else(|| panic!("there cannot be {partitions} partitions after {layout}"));
        }
    }
}
