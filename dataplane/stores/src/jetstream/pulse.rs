//! Whether JetStream answers: while it does not, asking more of it only adds to what waits.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::error::AppendError;
use crate::millis;

/// How long nothing may be answered while something is asked, before no more is sent. A disk that syncs slowly takes some
/// hundred milliseconds.
const SILENCE: Duration = Duration::from_secs(1);
/// For how long a stream that was full is taken for full.
const FULL: Duration = Duration::from_millis(200);

/// What is known of the server behind one connection.
pub(super) struct Pulse {
    born: Instant,
    unanswered: AtomicUsize,
    /// Milliseconds since `born`.
    heard: AtomicU64,
    /// Whether the last question got no answer.
    lost: AtomicBool,
}

/// A question that was let through. It counts as unanswered until this is dropped.
pub(super) struct Question<'a>(&'a Pulse);

/// Nothing was sent: the server has not answered anybody for too long.
#[derive(Debug, thiserror::Error)]
#[error("nats has not answered for {0} ms")]
pub(super) struct Silent(u64);

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            unanswered: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Lets a question through, unless others wait and nothing has been answered for too long. One is always let
    /// through, so that a server that has come back is heard.
    pub(super) fn ask(&self) -> Result<Question<'_>, Silent> {
        let question = Question(self);
        let now = millis_since(self.born);
        if self.unanswered.fetch_add(1, Ordering::AcqRel) == 0 {
            if !self.lost.load(Ordering::Acquire) {
                self.heard.store(now, Ordering::Release);
            }
            return Ok(question);
        }
        let silence = now.saturating_sub(self.heard.load(Ordering::Acquire));
        if silence > millis(SILENCE) {
            return Err(Silent(silence));
        }
        Ok(question)
    }

    /// For how long nothing has been answered, when the last question got no answer.
    pub(super) fn silence(&self) -> Duration {
        if self.lost.load(Ordering::Acquire) {
            let heard = Duration::from_millis(self.heard.load(Ordering::Acquire));
            self.born.elapsed().saturating_sub(heard)
        } else {
            Duration::ZERO
        }
    }
}

impl Question<'_> {
    /// An answer came.
    pub(super) fn answered(self) {
        self.0.heard.store(millis_since(self.0.born), Ordering::Release);
        self.0.lost.store(false, Ordering::Release);
    }

    /// None came in time.
    pub(super) fn lost(self) {
        self.0.lost.store(true, Ordering::Release);
    }

    /// What came of an append tells whether there was an answer.
    pub(super) fn settled<T>(self, outcome: &Result<T, AppendError>) {
        match outcome {
            Err(AppendError::OutcomeUnknown(_)) => self.lost(),
            _ => self.answered(),
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether a stream was full a moment ago: then it is not asked again at once.
pub(super) struct Fullness {
    born: Instant,
    /// Milliseconds since `born`; 0 when it never was.
    until: AtomicU64,
}

impl Fullness {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            until: AtomicU64::new(0),
        }
    }

    pub(super) fn note(&self) {
        self.until
            .store(millis_since(self.born) + millis(FULL), Ordering::Release);
    }

    pub(super) fn lasts(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until > 0 && millis_since(self.born) < until
    }
}

fn millis_since(moment: Instant) -> u64 {
    millis(moment.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(pulse: &Pulse) {
        pulse.heard.store(0, Ordering::Release);
    }

    fn old() -> Pulse {
        let born = Instant::now().checked_sub(SILENCE * 3).unwrap();
        Pulse { born, ..Pulse::new() }
    }

    #[test]
    fn a_silent_server_is_asked_one_thing_at_a_time_until_it_answers() {
        let pulse = old();
        let first = pulse.ask().unwrap();
        let second = pulse.ask().unwrap();
        silent(&pulse);
        assert!(pulse.ask().is_err());
        first.lost();
        second.lost();
        let probe = pulse.ask().unwrap();
        assert!(pulse.ask().is_err());
        assert!(pulse.silence() > SILENCE);
        probe.answered();
        assert_eq!(pulse.silence(), Duration::ZERO);
        assert!(pulse.ask().is_ok());
        assert_eq!(pulse.unanswered.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_server_that_nobody_asked_is_not_silent() {
        let pulse = old();
        let _one = pulse.ask().unwrap();
        assert!(pulse.ask().is_ok());
    }

    #[test]
    fn a_full_stream_is_asked_again_after_a_moment() {
        let fullness = Fullness::new();
        assert!(!fullness.lasts());
        fullness.note();
        assert!(fullness.lasts());
        let born = Instant::now().checked_sub(FULL).unwrap();
        let fullness = Fullness {
            born,
            until: AtomicU64::new(1),
        };
        assert!(!fullness.lasts());
    }
}
