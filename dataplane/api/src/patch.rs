//! JSON merge patch (RFC 7396) and JSON patch (RFC 6902), applied to an entry's value.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{problem::Problem, request::bound_value};

/// Most operations of one JSON patch.
const MAX_OPERATIONS: usize = 1_000;

/// A change to a value.
///
/// It is kept as the text that came: as a tree it takes up to twenty times as much memory, so it is one only while it is
/// applied, which happens to one patch at a time on each core.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    text: Arc<[u8]>,
    parse: fn(&[u8]) -> serde_json::Result<Kind>,
    max_value_bytes: usize,
}

enum Kind {
    /// `application/merge-patch+json`.
    Merge(Value),
    /// `application/json-patch+json`.
    Operations(json_patch::Patch),
}

impl Patch {
    /// Reads the body of this media type; the value that comes of it may have so many bytes.
    ///
    /// # Errors
    /// When the media type is no patch, or the body is none of that type.
    pub(crate) fn parse(media_type: &str, body: &[u8], max_value_bytes: usize) -> Result<Self, Problem> {
        let malformed =
            |error: serde_json::Error| Problem::invalid(format!("the body is no {media_type}: {error}"));
        let parse: fn(&[u8]) -> serde_json::Result<Kind> = match media_type {
            "application/merge-patch+json" => |text| serde_json::from_slice(text).map(Kind::Merge),
            "application/json-patch+json" => |text| serde_json::from_slice(text).map(Kind::Operations),
            _ => {
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_REQUEST").detail(
                    "send application/merge-patch+json or application/json-patch+json as the Content-Type",
                ));
            }
        };
        if let Kind::Operations(operations) = parse(body).map_err(malformed)?
            && operations.len() > MAX_OPERATIONS
        {
            return Err(Problem::invalid(format!(
                "a patch has at most {MAX_OPERATIONS} operations"
            )));
        }
        Ok(Self {
            text: body.into(),
            parse,
            max_value_bytes,
        })
    }

    /// The value after the one that is there.
    ///
    /// # Errors
    /// When the patch does not fit the value, or its result breaks a rule.
    pub(crate) fn apply(self, value: &RawValue) -> Result<Box<RawValue>, Problem> {
        let mut value = exact(value)?;
        match (self.parse)(&self.text)
            .map_err(|error| Problem::unfit("the patch is no JSON").cause(&error))?
        {
            Kind::Merge(patch) => json_patch::merge(&mut value, &patch),
            Kind::Operations(operations) => {
                json_patch::patch(&mut value, &operations)
                    .map_err(|error| Problem::unfit(format!("the patch does not fit the value: {error}")))?;
            }
        }
        let patched =
            to_raw_value(&value).map_err(|error| Problem::unfit("the result is no JSON").cause(&error))?;
        bound_value(&patched, self.max_value_bytes)?;
        Ok(patched)
    }
}

/// The value, unless reading it would change a number: a patch must leave alone what it does not name.
fn exact(value: &RawValue) -> Result<Value, Problem> {
    let parsed: Value = serde_json::from_str(value.get())
        .map_err(|error| Problem::unfit(format!("the value cannot be read as JSON: {error}")))?;
    if has_rounded_number(value.get()) {
        return Err(Problem::unfit(
            "the value has a number with more digits than a patch can keep",
        ));
    }
    Ok(parsed)
}

/// Whether a number outside strings has more than the 15 significant digits that a double always keeps and is no
/// integer of 64 bits.
fn has_rounded_number(json: &str) -> bool {
    let mut outside = json.split('"').step_by(2);
    if json.contains('\\') {
        // A quote may be escaped: look at everything, and rather refuse a string that looks like a number.
        return numbers(json).any(is_rounded);
    }
    outside.any(|text| numbers(text).any(is_rounded))
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
}

fn is_rounded(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    digits > 15 && number.parse::<i64>().is_err() && number.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGE: &str = "application/merge-patch+json";
    const OPERATIONS: &str = "application/json-patch+json";

    fn patched(value: &str, media_type: &str, patch: &str) -> Result<String, Problem> {
        let value = RawValue::from_string(value.to_owned()).unwrap();
        let patched = Patch::parse(media_type, patch.as_bytes(), 100)?.apply(&value)?;
        Ok(patched.get().to_owned())
    }

    #[test]
    fn a_merge_patch_sets_and_removes_members() {
        let value = r#"{"a": 1, "b": {"c": 2, "d": 3}}"#;
        let merged = patched(value, MERGE, r#"{"a": null, "b": {"c": 4}}"#).unwrap();
        assert_eq!(merged, r#"{"b":{"c":4,"d":3}}"#);
    }

    #[test]
    fn a_json_patch_does_all_of_its_operations_or_none() {
        let patch = r#"[{"op": "add", "path": "/1", "value": 2}, {"op": "test", "path": "/0", "value": 1}]"#;
        assert_eq!(patched("[1,3]", OPERATIONS, patch).unwrap(), "[1,2,3]");
        let unfit = patched("[7,3]", OPERATIONS, patch).unwrap_err();
        assert!(format!("{unfit:?}").contains("does not fit"), "{unfit:?}");
    }

    #[test]
    fn a_number_that_would_be_rounded_is_refused_and_kept() {
        for value in ["[1.23456789012345678]", "{\"a\": 123456789012345678901234567890}"] {
            assert!(patched(value, MERGE, "{}").is_err(), "{value}");
        }
        assert_eq!(
            patched("{\"a\":9007199254740993}", MERGE, "{}").unwrap(),
            "{\"a\":9007199254740993}"
        );
        assert_eq!(
            patched("{\"a\":\"1.2345678901234567890\"}", MERGE, "{}").unwrap(),
            "{\"a\":\"1.2345678901234567890\"}"
        );
    }

    #[test]
    fn what_is_too_long_or_no_patch_is_refused() {
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(100));
        assert!(patched("{}", MERGE, &long).is_err());
        assert!(patched("{}", "text/plain", "{}").is_err());
        assert!(patched("{}", OPERATIONS, "{}").is_err());
    }
}
