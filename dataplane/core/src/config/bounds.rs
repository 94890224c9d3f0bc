//! Bounds of periods.

use super::Period;

pub(super) const HOUR_MS: u64 = 3_600_000;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

/// Refuses a period outside the bounds, both in milliseconds and both allowed.
pub(super) fn between(least: u64, most: u64) -> impl Fn(&Period, &()) -> garde::Result {
    move |period, ()| {
        if (least..=most).contains(&period.as_millis()) {
            return Ok(());
        }
        let (least, most) = (Period::from_millis(least), Period::from_millis(most));
        Err(garde::Error::new(format!(
            "{period} is not between {least} and {most}"
        )))
    }
}
