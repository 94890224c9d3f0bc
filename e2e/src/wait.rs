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
        // An attempt that is over at its first look never meets the time limit around it.
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} for: {what}; last seen: {last}"
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 1s for: nothing; last seen: not yet")]
    async fn an_attempt_that_fails_at_once_is_given_up_in_time() {
        let mut attempts = 0;
        let () = eventually_within(Duration::from_secs(1), "nothing", || {
            attempts += 1;
            assert!(attempts < 100, "it never ends");
            async { Err("not yet") }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 1s for: nothing; last seen: the first attempt has not ended")]
    async fn an_attempt_that_hangs_is_given_up_in_time() {
        let () = eventually_within(
            Duration::from_secs(1),
            "nothing",
            std::future::pending::<Result<(), String>>,
        )
        .await;
    }
}
