//! Waiting on conditions: the only way in which a story lets time pass.

use std::{
    fmt::{Debug, Display},
    future::Future,
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How long most conditions may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `attempt` succeeds and returns what it found.
///
/// # Panics
/// When it has not succeeded within `patience`; the message holds `what` and the last error.
pub async fn eventually_within<T, E, F>(patience: Duration, what: &str, mut attempt: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + patience;
    let mut last = "the first attempt has not ended".to_owned();
    loop {
        let Ok(result) = tokio::time::timeout_at(deadline, attempt()).await else {
            panic!("waited {patience:?} for: {what}; last seen: {last}");
        };
        match result {
            Ok(found) => return found,
            Err(error) => last = error.to_string(),
        }
        sleep(PAUSE).await;
    }
}

/// As [`eventually_within`], with [`PATIENCE`].
pub async fn eventually<T, E, F>(what: &str, attempt: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    eventually_within(PATIENCE, what, attempt).await
}

/// `Ok` with the value when the condition holds for it, else an error that shows it: the last line of most attempts.
///
/// # Errors
/// When the condition does not hold.
pub fn seen<T: Debug>(value: T, condition: impl FnOnce(&T) -> bool) -> Result<T, String> {
    if condition(&value) {
        Ok(value)
    } else {
        Err(format!("{value:?}"))
    }
}
