//! What every handler is given.

use crate::{dead_letters::Letters, read::ReadPath, replay::Replay, write::WritePath};

/// Bytes of a request's body beside the value: metadata, names and punctuation.
const BODY_ALLOWANCE: usize = 64 << 10;

/// What the handlers work on.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) write: WritePath,
    pub(crate) read: ReadPath,
    pub(crate) letters: Letters,
    pub(crate) replay: Replay,
    pub(crate) max_value_bytes: usize,
}

impl App {
    /// Bytes of a request's body above which it is refused unread.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.max_value_bytes.saturating_add(BODY_ALLOWANCE)
    }
}
