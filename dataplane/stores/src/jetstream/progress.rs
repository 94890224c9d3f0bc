//! How far the workers are with a partition, as a version.

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use birbnest_core::{Base, Timestamp, Version, VersionOverflow};

use super::{
    error::ReadError,
    stored::{version_in, version_of},
};

/// A write that the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its version.
    pub version: Version,
    /// When the stream took it, by the server's clock.
    pub since: Timestamp,
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
