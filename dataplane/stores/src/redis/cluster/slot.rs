//! The hash slot of a key.

use crc::{CRC_16_XMODEM, Crc, Table};

/// How many there are.
pub(in super::super) const SLOTS: usize = 16_384;

const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// The slot that Redis Cluster puts a key into. Of a key with something in braces only that counts.
pub(in super::super) fn slot_of(key: &str) -> usize {
    let braced = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(braced, _)| braced)
        .filter(|braced| !braced.is_empty());
    usize::from(CRC.checksum(braced.unwrap_or(key).as_bytes())) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_slot_that_redis_gives_it() {
        for (key, slot) in [
            ("foo", 12_182),
            ("123456789", 12_739),
            ("{user1000}.following", slot_of("user1000")),
            ("a{}b{foo}", slot_of("a{}b{foo}")),
            ("a{{foo}}", slot_of("{foo")),
            ("a{foo", slot_of("a{foo")),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
        assert_ne!(slot_of("a{}b{foo}"), slot_of("foo"));
    }
}
