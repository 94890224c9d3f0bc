//! Adding to a number.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{change::Draft, problem::Problem};

/// Integers that every JSON client keeps exact: less than 2^53 away from zero.
const LIMIT: i64 = 1 << 53;

/// What to add, and to what where nothing is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Increment {
    /// What is added; negative to subtract.
    #[serde(default = "one")]
    by: i64,
    /// What it is added to when there is no entry.
    #[serde(default)]
    initial: i64,
    /// Seconds that a new entry lives; one that is there keeps its end.
    #[serde(default)]
    pub(crate) ttl: Option<i64>,
}

fn one() -> i64 {
    1
}

impl Increment {
    /// The first entry.
    pub(crate) fn first(self) -> Result<Draft, Problem> {
        Ok(Draft {
            value: self.add_to(self.initial)?,
            metadata: None,
            ttl_seconds: crate::request::bound_ttl(self.ttl)?,
        })
    }

    /// The value after the one that is there.
    pub(crate) fn apply(self, value: &RawValue) -> Result<Box<RawValue>, Problem> {
        let number = value
            .get()
            .parse()
            .map_err(|_| Problem::unfit("the value is no integer"))?;
        self.add_to(number)
    }

    fn add_to(self, number: i64) -> Result<Box<RawValue>, Problem> {
        let sum = number
            .checked_add(self.by)
            .filter(|sum| (-LIMIT..=LIMIT).contains(sum))
            .ok_or_else(|| {
                Problem::unfit("the sum is 2^53 or more away from zero, which JSON clients do not keep exact")
            })?;
        to_raw_value(&sum).map_err(|error| Problem::unfit("the sum is no JSON").cause(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(value: &str, by: i64) -> Option<String> {
        let value = RawValue::from_string(value.to_owned()).unwrap();
        let increment = Increment {
            by,
            initial: 0,
            ttl: None,
        };
        increment.apply(&value).ok().map(|sum| sum.get().to_owned())
    }

    #[test]
    fn integers_add_up_and_nothing_else_does() {
        assert_eq!(sum("41", 1).as_deref(), Some("42"));
        assert_eq!(sum("-1", -41).as_deref(), Some("-42"));
        for value in ["1.5", "\"1\"", "null", "1e3", "[]"] {
            assert_eq!(sum(value, 1), None, "{value}");
        }
    }

    #[test]
    fn a_sum_that_clients_would_round_is_refused() {
        assert!(sum("9007199254740991", 1).is_some());
        assert_eq!(sum("9007199254740992", 1), None);
        assert_eq!(sum("9223372036854775807", 1), None);
    }
}
