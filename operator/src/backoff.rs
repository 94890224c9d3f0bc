//! How long to wait after a failure, for each nest by itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::reconcile::NestId;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// Failures in a row, by nest.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<NestId, u32>>);

impl Backoff {
    /// Notes a failure; the time to wait doubles with each in a row, from a second to a minute.
    pub fn failed(&self, nest: &NestId) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(nest.clone()).or_default();
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST);
        *count = count.saturating_add(1);
        pause
    }

    /// Failures in a row so far.
    pub fn count(&self, nest: &NestId) -> u32 {
        self.lock().get(nest).copied().unwrap_or(0)
    }

    /// It went well, or the nest is gone: the next failure is the first again.
    pub fn forget(&self, nest: &NestId) {
        self.lock().remove(nest);
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<NestId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures;

    #[test]
    fn pauses_double_up_to_a_minute_and_each_nest_has_its_own() {
        let backoff = Backoff::default();
        let [robin, wren] = ["robin", "wren"].map(|name| {
            let mut nest = fixtures::managed();
            nest.metadata.name = Some(name.to_owned());
            NestId::of(&nest).unwrap()
        });
        let pauses: Vec<u64> = (0..8).map(|_| backoff.failed(&robin).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failed(&wren), FIRST);
        assert_eq!((backoff.count(&robin), backoff.count(&wren)), (8, 1));
        backoff.forget(&robin);
        assert_eq!(backoff.failed(&robin), FIRST);
    }
}
