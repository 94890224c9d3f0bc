//! The CustomResourceDefinition as it is written to a file and installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::BirbNest;

/// The definition, descriptions with one line per paragraph: `kubectl explain` wraps them itself.
///
/// # Errors
/// Never in practice: it would mean that Kubernetes' own type does not read what it wrote.
pub fn definition() -> serde_json::Result<CustomResourceDefinition> {
    let mut definition = serde_json::to_value(BirbNest::crd())?;
    reflow(&mut definition);
    serde_json::from_value(definition)
}

/// The definition as YAML, with a note on where it comes from.
///
/// # Errors
/// When it cannot be written as YAML, which no definition so far could not.
pub fn manifest() -> Result<String, Box<dyn std::error::Error>> {
    let yaml = serde_yaml::to_string(&serde_json::to_value(definition()?)?)?;
    Ok(format!(
        "# Generated from the Rust types by `make crds`; changes belong there.\n{yaml}"
    ))
}

fn reflow(node: &mut Value) {
    match node {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => *text = paragraphs(text),
                    _ => reflow(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(reflow),
        _ => {}
    }
}

fn paragraphs(text: &str) -> String {
    let lines = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(lines).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_and_paragraphs_stay() {
        assert_eq!(paragraphs("one\ntwo\n\nthree\n four"), "one two\n\nthree four");
    }
}
