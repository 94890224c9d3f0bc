//! The page about every field of the resource: a table for each object, made from the schema that the API server uses.

use std::fmt::{self, Write};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

const HEAD: &str = "\
<!-- Generated from the Rust types by `make crds`; changes belong there. -->
# Reference of the BirbNest resource

Every field of `spec` and `status`, as `kubectl explain nest.spec` shows them, too. The API server fills in the defaults, and
refuses what breaks a bound or a rule.
";

/// Fields whose types are Kubernetes' own, which its documentation describes.
const OF_KUBERNETES: [(&str, &str); 8] = [
    ("affinity", "Affinity"),
    ("clients", "list of NetworkPolicyPeer"),
    ("conditions", "list of Condition"),
    ("env", "list of EnvVar"),
    ("imagePullSecrets", "list of LocalObjectReference"),
    ("monitoring", "list of NetworkPolicyPeer"),
    ("tolerations", "list of Toleration"),
    ("topologySpreadConstraints", "list of TopologySpreadConstraint"),
];
/// By which a duration is told from other strings.
const UNITS: &str = "(ms|s|m|h)";

/// The page, as Markdown.
///
/// # Errors
/// When the definition has no version with a schema.
pub(crate) fn page(definition: &CustomResourceDefinition) -> Result<String, Box<dyn std::error::Error>> {
    let version = definition
        .spec
        .versions
        .first()
        .ok_or("a definition without a version")?;
    let schema = version
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = schema.ok_or("a version without a schema")?;
    let mut page = HEAD.to_owned();
    rules(&mut page, schema)?;
    for (name, part) in schema.properties.iter().flatten() {
        object(&mut page, name, part)?;
    }
    Ok(page)
}

/// A section about an object, and those about the objects in it.
fn object(page: &mut String, path: &str, schema: &JSONSchemaProps) -> fmt::Result {
    writeln!(page, "\n## {path}\n\n{}\n", in_a_line(schema))?;
    writeln!(page, "| field | type | default | |\n|---|---|---|---|")?;
    let fields = || schema.properties.iter().flatten();
    for (name, field) in fields() {
        let (type_, default) = (type_of(name, field), default_of(schema, name, field));
        writeln!(page, "| `{name}` | {type_} | {default} | {} |", in_a_line(field))?;
    }
    rules(page, schema)?;
    for (name, field) in fields().filter(|(name, field)| of_kubernetes(name, field).is_none()) {
        if let Some((nested, suffix)) = nested(field) {
            object(page, &format!("{path}.{name}{suffix}"), nested)?;
        }
    }
    Ok(())
}

/// What the API server says when rules across the fields of an object are broken.
fn rules(page: &mut String, schema: &JSONSchemaProps) -> fmt::Result {
    let said = schema.x_kubernetes_validations.iter().flatten();
    let mut said = said.filter_map(|rule| rule.message.as_deref()).peekable();
    if said.peek().is_some() {
        writeln!(page, "\nRules:\n")?;
    }
    said.try_for_each(|message| writeln!(page, "- {message}"))
}

/// The object that a field holds, or a list of which it holds.
fn nested(field: &JSONSchemaProps) -> Option<(&JSONSchemaProps, &'static str)> {
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) if item.properties.is_some() => Some((item, "[]")),
        _ => field.properties.is_some().then_some((field, "")),
    }
}

fn of_kubernetes(name: &str, field: &JSONSchemaProps) -> Option<&'static str> {
    let known = OF_KUBERNETES.iter().find(|(known, _)| *known == name);
    // One of ours may have the same name.
    let (_, type_) = known?;
    (type_.starts_with("list") == field.items.is_some()).then_some(*type_)
}

fn type_of(name: &str, field: &JSONSchemaProps) -> String {
    if let Some(type_) = of_kubernetes(name, field) {
        return type_.to_owned();
    }
    if let Some(values) = &field.enum_ {
        let values = values.iter().map(|value| format!("`{}`", text(&value.0)));
        return values.collect::<Vec<_>>().join(", ");
    }
    let is_duration = field
        .pattern
        .as_ref()
        .is_some_and(|pattern| pattern.contains(UNITS));
    match field.type_.as_deref() {
        _ if is_duration => "duration".to_owned(),
        Some("array") => "list".to_owned(),
        Some("object") if field.properties.is_none() => "map".to_owned(),
        Some(type_) => type_.to_owned(),
        None => "integer or string".to_owned(),
    }
}

/// The default of a value; those of an object stand at its own fields.
fn default_of(of: &JSONSchemaProps, name: &str, field: &JSONSchemaProps) -> String {
    match &field.default {
        Some(default) if !default.0.is_object() => format!("`{}`", text(&default.0)),
        _ if of.required.iter().flatten().any(|required| required == name) => "required".to_owned(),
        _ => String::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Its description, fit for a cell of a table.
fn in_a_line(schema: &JSONSchemaProps) -> String {
    let description = schema.description.as_deref().unwrap_or_default();
    description
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
