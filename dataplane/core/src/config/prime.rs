//! Which entries are loaded into Redis before anybody asks for them.

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::MAX_KEY_CHARS;

/// Which entries are loaded into Redis before anybody asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrimeConfig {
    /// Load them when a worker starts and finds a Redis that holds nothing of this cache generation, and whenever Redis
    /// loses everything later.
    #[garde(skip)]
    pub on_start: bool,
    /// Only keys of the instance `global` that start with this; empty: all of them. At most 255 characters.
    #[garde(length(chars, max = MAX_KEY_CHARS))]
    pub prefix: String,
    /// Most keys. 1 to 100,000.
    #[garde(range(min = 1, max = MOST_PRIMED))]
    pub limit: u32,
    /// Which keys come first, and so which are left out beyond the limit.
    #[garde(skip)]
    pub order: PrimeOrder,
}

/// Most keys that one request loads.
pub const MOST_PRIMED: u32 = 100_000;

/// Which keys come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PrimeOrder {
    /// Those that were written last.
    #[default]
    Newest,
    /// Those that are first in the order of their bytes.
    Key,
}

impl Default for PrimeConfig {
    fn default() -> Self {
        Self {
            on_start: false,
            prefix: String::new(),
            limit: 10_000,
            order: PrimeOrder::default(),
        }
    }
}
