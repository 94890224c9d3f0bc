//! How far the workers are with a partition, as a version.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::Info,
    stream::{RawMessageErrorKind, Stream},
};
use birbnest_core::{Base, Timestamp, Version, VersionOverflow};

use super::{
    error::ReadError,
    stored::{version_in, version_of},
};
use crate::fence::Fence;

/// A write that the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its version.
    pub version: Version,
    /// When the stream took it, by the server's clock.
    pub since: Timestamp,
}

impl Queued {
    /// How long it has waited, by this machine's clock.
    pub fn age(&self) -> Duration {
        Duration::from_millis(Timestamp::now().millis_since(self.since))
    }
}

/// How far the workers are with a partition, as its fence, its stream and its consumer say.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The highest sequence up to which everything is acknowledged.
    pub floor: u64,
    /// Writes that are not acknowledged.
    pub waiting: u64,
    /// The first of them.
    pub oldest: Option<Queued>,
    /// Every acknowledged write with a version at or below it is in PostgreSQL, is a dead letter, or was overwritten by
    /// a later write of its key before it got there.
    pub persisted_through: Version,
    /// No version above it was given before the stream was asked.
    pub highest_version: Version,
}

impl Progress {
    /// Asks the consumer of the fence's term. The stream is that of the fence, and `last_sequence` what it has given.
    ///
    /// # Errors
    /// When JetStream cannot be asked, or there is no consumer yet; and when PostgreSQL failed over and the replay has not
    /// begun: what was acknowledged may be missing there.
    pub async fn of<I>(stream: &Stream<I>, fence: &Fence, last_sequence: u64) -> Result<Self, ReadError> {
        if fence.failed_over {
            return Err(ReadError::Failed("postgresql failed over".to_owned()));
        }
        let consumer = stream.consumer_info(fence.term().consumer()).await;
        let consumer = consumer.map_err(|error| ReadError::Failed(error.to_string()))?;
        let floor = consumer.ack_floor.stream_sequence;
        let waiting = unacknowledged(&consumer);
        let oldest = if waiting > 0 {
            first_above(stream, floor).await?
        } else {
            None
        };
        let out_of_bounds = |error: VersionOverflow| ReadError::Failed(error.to_string());
        let settled = settled_through(fence.base, floor, oldest).map_err(out_of_bounds)?;
        let persisted_through = fence.mark.max(settled);
        let given = settled_through(fence.base, last_sequence, None).map_err(out_of_bounds)?;
        Ok(Self {
            floor,
            waiting,
            oldest,
            persisted_through,
            highest_version: given.max(fence.highest_version).max(persisted_through),
        })
    }
}

/// Messages that a consumer has not delivered, or whose acknowledgement has not come.
pub(super) fn unacknowledged(consumer: &Info) -> u64 {
    let delivered = u64::try_from(consumer.num_ack_pending).unwrap_or(u64::MAX);
    consumer.num_pending.saturating_add(delivered)
}

/// The first write above this sequence that the stream holds, from the leader. Messages without a version are passed
/// over: nobody can read them, and they become dead letters.
///
/// # Errors
/// When JetStream cannot be asked.
pub async fn first_above<I>(stream: &Stream<I>, sequence: u64) -> Result<Option<Queued>, ReadError> {
    let mut next = sequence + 1;
    loop {
        let message = match stream.get_first_raw_message_by_subject(">", next).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(ReadError::Failed(error.to_string())),
        };
        if let Ok(version) = version_in(Some(&message.headers), message.sequence) {
            let since = Timestamp::from(message.time);
            return Ok(Some(Queued { version, since }));
        }
        next = message.sequence + 1;
    }
}

/// The version up to which no write waits any more, when everything up to the sequence `settled` is acknowledged and
/// `first` is the first write above it, looked for afterwards.
///
/// In one epoch versions follow the sequences. What an earlier epoch left in the stream has the lower sequences, and its
/// versions are below this epoch's base: while it waits, the answer stays below it.
///
/// # Errors
/// When the version is not below 2^53.
pub fn settled_through(base: Base, settled: u64, first: Option<Queued>) -> Result<Version, VersionOverflow> {
    if settled == 0 {
        return Ok(Version::ZERO);
    }
    let settled = version_of(base, settled)?;
    Ok(first.map_or(settled, |first| settled.min(first.version.before())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn waiting(number: u64) -> Queued {
        Queued {
            version: version(number),
            since: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn in_one_epoch_everything_up_to_the_settled_sequence_is_through() {
        let base = Base::new(100).unwrap();
        assert_eq!(settled_through(base, 5, None), Ok(version(105)));
        assert_eq!(settled_through(base, 5, Some(waiting(106))), Ok(version(105)));
        assert_eq!(settled_through(base, 5, Some(waiting(120))), Ok(version(105)));
    }

    #[test]
    fn what_an_earlier_epoch_left_is_not_through_while_it_waits() {
        let base = Base::new(100).unwrap();
        assert_eq!(settled_through(base, 5, Some(waiting(6))), Ok(version(5)));
    }

    #[test]
    fn before_the_first_acknowledgement_of_an_epoch_nothing_is_known() {
        assert_eq!(
            settled_through(Base::new(100).unwrap(), 0, None),
            Ok(Version::ZERO)
        );
    }
}
