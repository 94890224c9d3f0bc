//! How many messages the next batch may have.

use birbnest_core::config::BatchConfig;

/// Above this a larger batch no longer saves anything.
const MOST_ADAPTIVE: usize = 1_000;

/// The limit of the next batch: grows while batches are full and more is waiting, and falls back when not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSize {
    configured: usize,
    most: usize,
    limit: usize,
}

impl BatchSize {
    /// Starts at the configured size.
    pub(crate) fn new(config: &BatchConfig) -> Self {
        let configured = usize::try_from(config.size).unwrap_or(usize::MAX);
        let most = if config.adaptive {
            configured.max(MOST_ADAPTIVE)
        } else {
            configured
        };
        Self {
            configured,
            most,
            limit: configured,
        }
    }

    /// Messages that the next batch may have.
    pub(crate) fn limit(self) -> usize {
        self.limit
    }

    /// Learns from a batch of `pulled` messages behind which `waiting` were left.
    pub(crate) fn adapt(&mut self, pulled: usize, waiting: u64) {
        let more_waits = usize::try_from(waiting).unwrap_or(usize::MAX) > self.limit;
        self.limit = if pulled >= self.limit && more_waits {
            self.limit.saturating_mul(2).min(self.most)
        } else if more_waits {
            self.limit
        } else {
            self.configured
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(size: u32, adaptive: bool) -> BatchConfig {
        BatchConfig {
            size,
            adaptive,
            ..BatchConfig::default()
        }
    }

    #[test]
    fn batches_grow_with_the_backlog_up_to_a_thousand_and_shrink_back_without_it() {
        let mut size = BatchSize::new(&config(300, true));
        let mut seen = vec![size.limit()];
        for _ in 0..3 {
            size.adapt(size.limit(), 50_000);
            seen.push(size.limit());
        }
        size.adapt(17, 0);
        seen.push(size.limit());
        assert_eq!(seen, [300, 600, 1_000, 1_000, 300]);
    }

    #[test]
    fn a_fixed_size_stays_and_a_larger_one_is_not_cut_down() {
        let mut fixed = BatchSize::new(&config(100, false));
        fixed.adapt(100, 50_000);
        assert_eq!(fixed.limit(), 100);
        let mut large = BatchSize::new(&config(5_000, true));
        large.adapt(5_000, 50_000);
        assert_eq!(large.limit(), 5_000);
    }
}
