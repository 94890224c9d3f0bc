//! A state while the layout changes, and what must be true of it.

use super::Setting;

/// What Redis holds of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Copy {
    /// A version, as a copy of this layout.
    Of { version: u8, layout: u8 },
    /// The right of this pod to fill it.
    Lease(u8),
}

/// What a worker has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Drain {
    #[default]
    Idle,
    Commit(u8),
    Refresh(u8),
    Acknowledge(u8),
}

/// The stream of the key's partition in one layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) sequence: u8,
    /// The version of its message, 0 for none.
    pub(super) message: u8,
    /// Up to this version everything is acknowledged.
    pub(super) floor: u8,
    pub(super) drain: Drain,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    #[default]
    Idle,
    /// A write is sent, to the stream of this layout.
    Publish,
    /// It is in the stream, and goes to Redis.
    Copy(u8),
    /// It is answered.
    Answer(u8),
    /// A read that found nothing in Redis asks the stream.
    ReadStream { leased: bool },
    /// And then the row.
    ReadRow { leased: bool, queued: u8 },
    /// And fills Redis.
    Fill { found: u8 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pod {
    /// The layout that it knows.
    pub(super) knows: u8,
    pub(super) at: At,
    /// The layout that it knew when what it does began.
    pub(super) layout: u8,
    /// The highest version acknowledged to anybody by then.
    pub(super) low: u8,
    pub(super) writes: u8,
    pub(super) reads: u8,
}

impl Pod {
    pub(super) fn end(&mut self) {
        (self.at, self.low, self.layout) = (At::Idle, 0, 0);
    }
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) streams: [Stream; 2],
    pub(super) row: u8,
    pub(super) copy: Option<Copy>,
    /// As PostgreSQL has it.
    pub(super) layout: u8,
    /// Whether the earlier stream is sealed, or would be.
    pub(super) sealed: bool,
    /// Whether the earlier stream takes writes.
    pub(super) takes_writes: bool,
    pub(super) pods: [Pod; 2],
    /// The highest version that was acknowledged to anybody.
    pub(super) told: u8,
    pub(super) broken: Option<&'static str>,
}

impl State {
    pub(super) fn start(setting: &Setting) -> Self {
        let mut pods = [Pod::default(); 2];
        for ((pod, writes), reads) in pods.iter_mut().zip(setting.writes).zip(setting.reads) {
            (pod.writes, pod.reads) = (writes, reads);
        }
        Self {
            streams: [Stream::default(); 2],
            row: 0,
            copy: None,
            layout: 0,
            sealed: false,
            takes_writes: true,
            pods,
            told: 0,
            broken: None,
        }
    }

    /// Removes a copy that is older than this version, and any lease.
    pub(super) fn invalidate(&mut self, version: u8) {
        if !matches!(self.copy, Some(Copy::Of { version: there, .. }) if there >= version) {
            self.copy = None;
        }
    }

    /// What must hold of every state.
    pub(super) fn judge(&mut self) {
        // Of an earlier layout nothing is fetched any more.
        let drained = self.streams.iter().skip(usize::from(self.layout));
        let mut waiting = drained.filter(|stream| stream.message > stream.floor);
        let in_hand =
            |stream: &Stream| matches!(stream.drain, Drain::Commit(version) if version >= self.told);
        let kept = self.row >= self.told
            || waiting.any(|stream| stream.message >= self.told)
            || self.streams.iter().any(in_hand);
        if self.broken.is_none() && !kept {
            self.broken = Some("an acknowledged write is lost");
        }
    }
}
