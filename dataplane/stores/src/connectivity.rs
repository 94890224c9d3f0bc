//! Whether a store can be reached.

use std::fmt;

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
        Self::Lost("not connected yet".to_owned())
    }
}
