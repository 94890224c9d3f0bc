//! Kinds that a cluster may have or not, which a story installs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Space;

/// A kind of somebody else's, with namespaces, in its version `v1`.
pub struct ForeignKind {
    /// The group.
    pub group: &'static str,
    /// The kind; its plural is the same in lower case with an `s`.
    pub kind: &'static str,
    /// What its definition is annotated with.
    pub annotations: &'static [(&'static str, &'static str)],
}

impl ForeignKind {
    /// The objects of this kind in the story's namespace.
    pub fn objects(&self, space: &Space) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, "v1", self.kind));
        Api::namespaced_with(space.client.clone(), &space.name, &kind)
    }

    /// As much of the definition as the API server wants; it stays, as other stories may meet it as well.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn install(&self, space: &Space) {
        let singular = self.kind.to_lowercase();
        let plural = format!("{singular}s");
        let name = format!("{plural}.{}", self.group);
        let annotations = self.annotations.iter();
        let annotations: serde_json::Map<_, _> = annotations
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let anything: Value = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": name, "annotations": annotations },
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": { "kind": self.kind, "plural": plural, "singular": singular },
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": anything } } },
                }],
            },
        });
        let definitions = space.all::<CustomResourceDefinition>();
        let params = PatchParams::apply("story").force();
        let applied = definitions
            .patch(&name, &params, &Patch::Apply(&definition))
            .await;
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
