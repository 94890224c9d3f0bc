//! What an entry is called, and where its writes are queued.

use std::{fmt, str::FromStr};

/// Longest key, in characters.
pub const MAX_KEY_CHARS: usize = 255;
/// Longest name of an instance: that of a DNS label (RFC 1123).
const MAX_INSTANCE_LEN: usize = 63;

/// The name of an entry inside its instance: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryKey(Box<str>);

/// Why a text is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is nothing.
    #[error("the key is empty")]
    Empty,
    /// Longer than 255 characters.
    #[error("the key has {0} characters, at most {MAX_KEY_CHARS} are allowed")]
    TooLong(usize),
    /// A control character, which no log and no terminal shows.
    #[error("the key contains the control character {0:?}")]
    ControlCharacter(char),
}

impl EntryKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        // Bytes bound characters from above, so that most keys are not counted.
        if text.len() > MAX_KEY_CHARS {
            let chars = text.chars().count();
            if chars > MAX_KEY_CHARS {
                return Err(InvalidKey::TooLong(chars));
            }
        }
        match text.chars().find(|c| c.is_control()) {
            Some(control) => Err(InvalidKey::ControlCharacter(control)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace of keys inside one BirbNest: a DNS label.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InstanceName(Box<str>);

/// A text that is no DNS label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the instance {0:?} is no DNS label: use 1 to {MAX_INSTANCE_LEN} lower-case letters, digits and hyphens, a letter or digit first and last"
)]
pub struct InvalidInstance(String);

impl InstanceName {
    /// The instance of requests that name none.
    pub fn global() -> Self {
        Self("global".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = InvalidInstance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let label = bytes.len() <= MAX_INSTANCE_LEN
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|b| alphanumeric(b) || *b == b'-');
        if label {
            Ok(Self(text.into()))
        } else {
            Err(InvalidInstance(text.to_owned()))
        }
    }
}

/// One of the streams that keys are spread over. Its number is never given to another one: see [`Layout`](crate::Layout).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry's full name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryId {
    /// The namespace.
    pub instance: InstanceName,
    /// The name in it.
    pub key: EntryKey,
}

impl EntryId {
    /// The entry with this name in the instance `global`.
    pub fn global(key: EntryKey) -> Self {
        Self {
            instance: InstanceName::global(),
            key,
        }
    }

    /// The hash that stands for the entry in subjects and chooses its partition.
    pub fn hash(&self) -> KeyHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.instance.as_str().as_bytes());
        // No instance contains a zero byte, so no two names run together.
        hasher.update(&[0]);
        hasher.update(self.key.as_str().as_bytes());
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        KeyHash(u128::from_be_bytes(first))
    }
}

/// 128 bits of BLAKE3 over instance and key. Two keys of one hash would overwrite each other in the stream, so it must
/// be a hash for which nobody can make a collision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash(u128);

impl KeyHash {
    /// One of so many partitions (at least 1), counted from 0.
    pub(crate) fn part(self, partitions: u16) -> u16 {
        let part = self.0 % u128::from(partitions.max(1));
        u16::try_from(part).unwrap_or_default()
    }

    /// One of so many places (at least 1), independent of the partition.
    pub fn place(self, places: usize) -> usize {
        let upper = usize::try_from(self.0 >> 64).unwrap_or_default();
        upper % places.max(1)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(instance: &str, key: &str) -> EntryId {
        EntryId {
            instance: instance.parse().unwrap(),
            key: key.parse().unwrap(),
        }
    }

    #[test]
    fn the_bound_on_keys_counts_characters_and_not_bytes() {
        assert!("ü".repeat(255).parse::<EntryKey>().is_ok());
        assert_eq!("ü".repeat(256).parse::<EntryKey>(), Err(InvalidKey::TooLong(256)));
        assert_eq!("".parse::<EntryKey>(), Err(InvalidKey::Empty));
        assert_eq!(
            "a\nb".parse::<EntryKey>(),
            Err(InvalidKey::ControlCharacter('\n'))
        );
        assert_eq!(
            "a\u{7f}".parse::<EntryKey>(),
            Err(InvalidKey::ControlCharacter('\u{7f}'))
        );
    }

    #[test]
    fn an_instance_is_a_dns_label() {
        for good in ["a", "0", "shop-1", &"a".repeat(63)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a:b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hash_never_changes_between_releases() {
        // The subjects of queued messages and the partition of stored rows depend on it.
        assert_eq!(
            id("global", "robin").hash().to_string(),
            "05c7999913761890db306b7b5b448cc8"
        );
    }

    proptest! {
        #[test]
        fn keys_of_two_instances_never_share_a_subject(key in "[a-z]{1,9}") {
            prop_assert_ne!(id("a", &format!("b{key}")).hash(), id("ab", &key).hash());
        }
    }
}
