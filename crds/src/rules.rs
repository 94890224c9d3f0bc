//! Schema fragments that several fields share.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The rule that a period, written as Go and CEL read it, lies between two others.
pub(crate) fn between(field: &str, least: &str, most: &str) -> Value {
    json!([{
        // The first part keeps the second from failing without a sentence of its own.
        "rule": format!(
            "self.matches('^([0-9]{{1,9}}(ms|s|m|h))+$') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
        ),
        "message": format!("{field} must be between {least} and {most}"),
    }])
}

/// A rule and the sentence that the user reads when it is broken.
pub(crate) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// The size of a volume. A string and not also a number, whose schema would let `null` through.
pub(crate) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "pattern": QUANTITY })
}

/// Quantities by the name of the resource.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
                "pattern": QUANTITY,
        },
    })
}

/// What Kubernetes itself uses in the schemas that controller-gen writes.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";
