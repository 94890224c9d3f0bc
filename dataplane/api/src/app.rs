//! What every handler is given.

use std::{ops::Deref, sync::Arc, time::Duration};

use birbnest_core::Budget;

use crate::{
    dead_letters::Letters, metrics::Metrics, prime::Priming, read::ReadPath, replay::Replay,
    watermarks::Watermarks, write::WritePath,
};

/// Bytes of a request's body beside the value: metadata, names and punctuation.
const BODY_ALLOWANCE: usize = 64 << 10;

/// What the handlers of one core work on, cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Paths>);

pub(crate) struct Paths {
    pub(crate) write: Arc<WritePath>,
    pub(crate) read: ReadPath,
    pub(crate) letters: Letters,
    pub(crate) replay: Replay,
    pub(crate) priming: Priming,
    pub(crate) watermarks: Watermarks,
    pub(crate) metrics: Metrics,
    pub(crate) max_value_bytes: usize,
    /// What bodies and large answers hold in memory, over all cores.
    pub(crate) budget: Budget,
    /// How long a body may take to arrive.
    pub(crate) body_timeout: Duration,
}

impl App {
    pub(crate) fn new(paths: Paths) -> Self {
        Self(Arc::new(paths))
    }

    /// Bytes of a request's body above which it is refused unread.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.max_value_bytes.saturating_add(BODY_ALLOWANCE)
    }
}

impl Deref for App {
    type Target = Paths;

    fn deref(&self) -> &Paths {
        &self.0
    }
}
