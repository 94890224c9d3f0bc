//! A moment, as PostgreSQL's `timestamptz` holds it.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Characters of a [`Timestamp`]'s text, which is the same for every moment between the years 0 and 9999.
pub const TIMESTAMP_LEN: usize = 27;

/// Microseconds since 1970-01-01T00:00:00Z. Its text is that of RFC 3339 with six decimals, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// This machine's clock. Orders nothing: versions do that.
    pub fn now() -> Self {
        Self::from(OffsetDateTime::now_utc())
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// So many seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as i64 * 1_000_000))
    }

    /// Milliseconds from `earlier` to this moment, 0 when it is not later.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or_default()
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        // `time` ends at the year 9999, where microseconds fit.
        Self(i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(moment: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(moment.0) * 1000).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from(*self);
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second, micros) = moment.to_hms_micro();
        let month = u8::from(month);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_has_always_the_same_length() {
        for micros in [0, 1, 1_763_700_000_000_000, 253_402_300_799_999_999] {
            let text = Timestamp::from_micros(micros).to_string();
            assert_eq!(text.len(), TIMESTAMP_LEN, "{text}");
        }
        assert_eq!(
            Timestamp::from_micros(1_000_001).to_string(),
            "1970-01-01T00:00:01.000001Z"
        );
    }
}
