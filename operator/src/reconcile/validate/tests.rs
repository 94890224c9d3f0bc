use serde_json::json;

use super::*;
use crate::reconcile::fixtures::{external, managed, nest, release};

fn reference(key: &str) -> SecretKeyRef {
    SecretKeyRef {
        name: "backends".to_owned(),
        key: key.to_owned(),
    }
}

fn holding(contents: &[(&str, &str)]) -> SecretDigests {
    let look = |(key, text): &(&str, &str)| {
        let digest = Digest::of(text.as_bytes());
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme).to_owned();
        (reference(key), SecretContent::Address { digest, scheme })
    };
    contents.iter().map(look).collect()
}

fn refusal(nest: &BirbNest, secrets: &SecretDigests) -> Invalid {
    validate(nest, secrets, &release()).unwrap_err()
}

#[test]
fn a_secret_that_is_not_there_is_named_with_what_to_put_into_it() {
    let error = refusal(&external(), &SecretDigests::default());
    assert_eq!(error.reason(), "SecretNotFound");
    assert_eq!(error.category(), Category::Reference);
    assert_eq!(
        error.to_string(),
        "spec.redis.urlFrom names the Secret backends, which does not exist: create it with the address under the key \
         redis-url"
    );
}

#[test]
fn a_secret_without_the_key_is_told_apart() {
    let without = [(reference("redis-url"), SecretContent::NoKey)]
        .into_iter()
        .collect();
    let error = refusal(&external(), &without);
    assert_eq!(error.reason(), "SecretKeyNotFound");
    assert!(
        error
            .to_string()
            .contains("the key redis-url of the Secret backends"),
        "{error}"
    );
}

#[test]
fn an_address_of_another_kind_is_refused_before_a_pod_sees_it() {
    let swapped = holding(&[("redis-url", "postgres://host"), ("postgres-url", "redis://host")]);
    let error = refusal(&external(), &swapped);
    assert_eq!(error.reason(), "AddressMalformed");
    assert!(error.to_string().contains("redis:// or rediss://"), "{error}");
}

#[test]
fn what_a_message_says_never_holds_the_address() {
    let error = refusal(&external(), &holding(&[("redis-url", "secret-word")]));
    assert!(!error.to_string().contains("secret-word"), "{error}");
}

#[test]
fn only_the_secrets_that_a_nest_names_are_read() {
    assert_eq!(
        named_secrets(&external()),
        [&reference("redis-url"), &reference("postgres-url")]
    );
    assert!(named_secrets(&managed()).is_empty());
}

#[test]
fn what_an_older_definition_let_through_is_refused_here() {
    let mut nest = managed();
    nest.spec.worker.batch.size = 0;
    let error = refusal(&nest, &SecretDigests::default());
    assert_eq!(
        (error.reason(), error.category()),
        ("SpecInvalid", Category::Spec)
    );
    assert!(error.to_string().contains("worker.batch.size"), "{error}");

    nest = managed();
    nest.spec.api.max_concurrent_requests = -1;
    assert!(
        refusal(&nest, &SecretDigests::default())
            .to_string()
            .contains("api.maxConcurrentRequests")
    );

    nest = managed();
    nest.spec.redis.managed = None;
    assert!(
        refusal(&nest, &SecretDigests::default())
            .to_string()
            .contains("spec.redis takes exactly one")
    );
}

#[test]
fn an_object_that_never_was_in_a_cluster_is_refused() {
    let mut nest = managed();
    nest.metadata.namespace = None;
    assert_eq!(
        refusal(&nest, &SecretDigests::default()),
        Invalid::Incomplete("name or namespace")
    );
}

#[test]
fn defaults_are_filled_in() {
    let valid = validate(&managed(), &SecretDigests::default(), &release()).unwrap();
    assert_eq!(valid.api_replicas, ApiReplicas::Fixed(2));
    assert_eq!((valid.worker_range.min, valid.worker_range.max), (1, 5));
    assert_eq!(valid.settings.stream.prefix, "cache_shop_prices");
    assert_eq!(valid.settings.redis.key_prefix, "birb:shop/prices");
    assert_eq!(valid.endpoint(), "http://prices-api.shop.svc");
    let standard = Config::default();
    assert_eq!(
        (valid.settings.cache, valid.settings.worker),
        (standard.cache, standard.worker)
    );
}

#[test]
fn a_nest_may_bring_its_own_image() {
    let mut nest = managed();
    nest.spec.pod = serde_json::from_value(json!({ "image": "mine:1" })).unwrap();
    let valid = validate(&nest, &SecretDigests::default(), &release()).unwrap();
    assert_eq!(valid.release.images.birbnest, "mine:1");
    assert_eq!(valid.release.images.redis, release().images.redis);
}

#[test]
fn no_two_nests_share_streams_or_keys() {
    let named = |namespace: &str, name: &str| {
        let mut nest = nest(&serde_json::to_value(managed().spec).unwrap());
        nest.metadata.namespace = Some(namespace.to_owned());
        nest.metadata.name = Some(name.to_owned());
        let id = NestId::of(&nest).unwrap();
        (id.stream_prefix(), id.key_prefix())
    };
    assert_ne!(named("a-b", "c"), named("a", "b-c"));
}
