//! Whether NATS can be reached from here, apart from whether it takes writes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What the task that connects found out. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    reached_once: bool,
    away_since: Option<Instant>,
}

impl Reach {
    /// NATS answered.
    pub(super) fn reached(&self) {
        *self.state() = State {
            reached_once: true,
            away_since: None,
        };
    }

    /// It did not.
    pub(super) fn missed(&self) {
        let mut state = self.state();
        state.away_since = state.away_since.or_else(|| Some(Instant::now()));
    }

    /// Whether it is away. A server that never answered may be one that does not exist, and is not away.
    pub(super) fn is_away(&self) -> bool {
        self.away_since().is_some()
    }

    /// For how long it has been away.
    pub(super) fn away_for(&self) -> Duration {
        self.away_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn away_since(&self) -> Option<Instant> {
        let state = self.state();
        state.away_since.filter(|_| state.reached_once)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_away_from_the_first_miss_to_the_next_answer_if_it_ever_answered() {
        let reach = Reach::default();
        reach.missed();
        assert!(!reach.is_away());
        reach.reached();
        assert_eq!(reach.away_for(), Duration::ZERO);
        reach.missed();
        let first = reach.away_since();
        reach.missed();
        assert!(reach.is_away());
        assert_eq!(reach.away_since(), first);
    }
}
