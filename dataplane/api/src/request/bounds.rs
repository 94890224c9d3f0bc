//! What values, metadata and lifetimes may be.

use serde_json::value::RawValue;

use super::body::too_large;
use crate::problem::Problem;

/// Longest time to live: a hundred years, in seconds.
const MAX_TTL_SECONDS: u32 = 3_153_600_000;
/// Longest metadata, in bytes of JSON text.
const MAX_METADATA_BYTES: usize = 16 << 10;
/// Deepest nesting of a value: `PostgreSQL` and most clients parse recursively.
const MAX_DEPTH: usize = 128;

/// A value is as long and as deep as it may be.
pub(crate) fn bound_value(value: &RawValue, max_bytes: usize) -> Result<(), Problem> {
    if value.get().len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    bound_depth(value)
}

/// Metadata are a short object.
pub(super) fn bound_metadata(metadata: &RawValue) -> Result<(), Problem> {
    if !metadata.get().starts_with('{') {
        return Err(Problem::invalid("metadata must be a JSON object"));
    }
    if metadata.get().len() > MAX_METADATA_BYTES {
        return Err(Problem::invalid(format!(
            "metadata is longer than {MAX_METADATA_BYTES} bytes"
        )));
    }
    bound_depth(metadata)
}

/// 0 means "no end", as clients write that leave out nothing.
pub(crate) fn bound_ttl(ttl: Option<i64>) -> Result<Option<u32>, Problem> {
    match ttl {
        None | Some(0) => Ok(None),
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds <= MAX_TTL_SECONDS => Ok(Some(seconds)),
            _ => Err(Problem::invalid(format!(
                "ttl is {seconds}, it must be between 0 and {MAX_TTL_SECONDS} seconds"
            ))),
        },
    }
}

/// The text is valid JSON, so brackets outside strings are balanced.
fn bound_depth(json: &RawValue) -> Result<(), Problem> {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.get().bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > MAX_DEPTH {
        return Err(Problem::invalid(format!(
            "the JSON is nested {deepest} levels deep, at most {MAX_DEPTH} are allowed"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        let value = RawValue::from_string(format!(r#""{}\"[""#, "[".repeat(150))).unwrap();
        assert!(bound_value(&value, 1000).is_ok());
    }

    #[test]
    fn a_ttl_of_zero_means_no_end() {
        assert_eq!(bound_ttl(Some(0)).unwrap(), None);
        assert_eq!(bound_ttl(Some(60)).unwrap(), Some(60));
        assert!(bound_ttl(Some(i64::MAX)).is_err());
    }
}
