//! Entries to be written, as bodies say them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    body::parse_object,
    bounds::{bound_metadata, bound_ttl, bound_value},
};
use crate::{change::Draft, problem::Problem};

#[derive(Deserialize)]
struct DraftBody<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default)]
    ttl: Option<i64>,
}

/// Reads and bounds what is to be written.
pub(super) fn parse_draft(body: &[u8], max_value_bytes: usize) -> Result<Draft, Problem> {
    let body: DraftBody<'_> = parse_object(body, "a value")?;
    bound_value(body.value, max_value_bytes)?;
    if let Some(metadata) = body.metadata {
        bound_metadata(metadata)?;
    }
    Ok(Draft {
        value: body.value.to_owned(),
        metadata: body.metadata.map(ToOwned::to_owned),
        ttl_seconds: bound_ttl(body.ttl)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let problem = parse_draft(body.as_bytes(), 100).map(|_| ()).unwrap_err();
        format!("{problem:?}")
    }

    #[test]
    fn every_json_value_is_a_value() {
        for value in [
            "null",
            "false",
            "0",
            "\"\"",
            "[]",
            "{}",
            "1e400",
            r#""\u0000\ud800""#,
        ] {
            let draft = parse_draft(format!(r#"{{"value": {value} }}"#).as_bytes(), 100).unwrap();
            assert_eq!(draft.value.get(), value);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_why() {
        assert!(refused("{").contains("no JSON object"));
        assert!(refused("[1]").contains("no JSON object"));
        assert!(refused(r#"{"ttl": 1}"#).contains("missing field `value`"));
        assert!(refused(r#"{"value": 1, "ttl": -1}"#).contains("ttl is -1"));
        assert!(refused(r#"{"value": 1, "ttl": 1.5}"#).contains("no JSON object"));
        assert!(refused(r#"{"value": 1, "metadata": []}"#).contains("metadata must be"));
        assert!(refused(&format!(r#"{{"value": "{}"}}"#, "a".repeat(99))).contains("limit"));
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let body = format!(r#"{{"value": {deep}}}"#);
        let problem = parse_draft(body.as_bytes(), usize::MAX).map(|_| ()).unwrap_err();
        assert!(format!("{problem:?}").contains("20000 levels"), "{problem:?}");
    }
}
