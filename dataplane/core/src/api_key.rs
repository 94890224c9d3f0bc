//! What an API key looks like.

/// Bytes that a key has at least: shorter ones could be guessed.
pub const LEAST_BYTES: usize = 16;
/// Bytes that a key has at most.
pub const MOST_BYTES: usize = 256;

/// Why something is no API key. The key is in no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKey {
    /// Too short to be safe, or too long to be compared with every request.
    #[error("an API key has {LEAST_BYTES} to {MOST_BYTES} bytes, this one has {0}")]
    Length(usize),
    /// It could not be sent in a header.
    #[error("an API key consists of printable ASCII characters without spaces")]
    Characters,
}

/// The key that a file holds; white space around it is none of it.
///
/// # Errors
/// When that is no key.
pub fn parse(content: &[u8]) -> Result<&[u8], InvalidApiKey> {
    let key = content.trim_ascii();
    if !(LEAST_BYTES..=MOST_BYTES).contains(&key.len()) {
        return Err(InvalidApiKey::Length(key.len()));
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(InvalidApiKey::Characters);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_long_enough_and_can_be_sent() {
        assert_eq!(parse(b" 0123456789abcdef\n"), Ok(&b"0123456789abcdef"[..]));
        assert_eq!(parse(b"0123456789abcde\n"), Err(InvalidApiKey::Length(15)));
        assert_eq!(parse(&[b'a'; 257]), Err(InvalidApiKey::Length(257)));
        assert_eq!(parse(b"01234567 89abcdef"), Err(InvalidApiKey::Characters));
        assert_eq!(
            parse("0123456789abcdeé".as_bytes()),
            Err(InvalidApiKey::Characters)
        );
    }
}
