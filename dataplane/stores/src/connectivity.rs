//! Whether a store can be reached.

use std::fmt;

use birbnest_core::NOT_REACHED;
use futures::future::select_all;
use tokio::sync::watch::{self, Receiver};

/// What the task that keeps a connection last saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Commands can be sent.
    Connected,
    /// They cannot, and why. Holds no secret.
    Lost(String),
}

impl Connectivity {
    /// From the reason.
    pub fn lost(reason: &impl fmt::Display) -> Self {
        Self::Lost(reason.to_string())
    }

    /// Whether all of several connections are there, and else what is wrong with one that is not.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn of_all(mut parts: Vec<Receiver<Self>>) -> Receiver<Self> {
        let (whole, status) = watch::channel(Self::default());
        tokio::spawn(async move {
            loop {
                let seen = parts.iter_mut().map(|part| part.borrow_and_update().clone());
                // All are looked at, so that each is seen as it is now.
                let lost: Vec<Self> = seen.filter(|state| !state.is_connected()).collect();
                whole.send_replace(lost.into_iter().next().unwrap_or(Self::Connected));
                let changes = parts.iter_mut().map(|part| Box::pin(part.changed()));
                if select_all(changes).await.0.is_err() {
                    return;
                }
            }
        });
        status
    }

    /// Why commands cannot be sent, if they cannot.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Connected => None,
            Self::Lost(reason) => Some(reason.clone()),
        }
    }

    /// Whether commands can be sent.
    pub fn is_connected(&self) -> bool {
        *self == Self::Connected
    }
}

impl Default for Connectivity {
    fn default() -> Self {
        Self::Lost(NOT_REACHED.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn several_connections_are_there_when_the_last_one_is() {
        let (one, first) = watch::channel(Connectivity::default());
        let (two, second) = watch::channel(Connectivity::default());
        let mut all = Connectivity::of_all(vec![first, second]);
        one.send_replace(Connectivity::Connected);
        two.send_replace(Connectivity::Connected);
        all.wait_for(Connectivity::is_connected).await.unwrap();
        two.send_replace(Connectivity::Lost("cut".to_owned()));
        let lost = all.wait_for(|state| !state.is_connected()).await.unwrap();
        assert_eq!(lost.trouble().as_deref(), Some("cut"));
    }
}
