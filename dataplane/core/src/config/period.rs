//! A length of time as people write it in the configuration file and in the BirbNest resource.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as a number and a unit, such as `250ms`, `15s` or `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A period of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A period of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The period as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The period in milliseconds; more than 584 million years count as that.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Why a text is no period.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no length of time ({source}): write a number and a unit, such as 250ms, 15s or 1h")]
pub struct InvalidPeriod {
    text: String,
    source: humantime::DurationError,
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Self(duration)),
            Err(source) => Err(InvalidPeriod {
                text: text.to_owned(),
                source,
            }),
        }
    }
}

impl fmt::Display for Period {
    /// In the form of Go's durations, which the rules of the BirbNest resource (CEL) read, too: no spaces, hours at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = u64::from(self.0.subsec_nanos());
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (nanos / 1_000_000, "ms"),
            (nanos % 1_000_000, "ns"),
        ];
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{count}{unit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // Narrower than what `FromStr` takes: what both it and CEL's `duration()` read.
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,9}(ms|s|m|h))+$",
            "maxLength": 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_reads_and_writes_the_same_text() {
        for text in ["250ms", "15s", "1h", "1h30m", "720h", "1m500ms", "3ns", "0s"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_an_example() {
        let error = "15".parse::<Period>().unwrap_err().to_string();
        assert!(error.contains("250ms"), "{error}");
    }
}
