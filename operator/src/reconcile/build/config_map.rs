//! The `ConfigMap`: a file for each component, so that a change of the worker's batch size rolls the workers alone.

use std::collections::BTreeMap;

use birbnest_core::config::{
    ApiConfig, CacheConfig, Config, PostgresConfig, PrimeConfig, RedisConfig, StreamConfig, WorkerConfig,
};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{BuildError, metadata};
use crate::reconcile::validate::{Component, NestId};

/// The files as they are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<String, String>);

impl Files {
    /// Writes each component's sections; those that it does not read stay at their defaults.
    pub(super) fn render(settings: &Config) -> Result<Self, BuildError> {
        let files = [
            (Component::Api, api(settings)),
            (Component::Worker, worker(settings)),
            (Component::Migrate, migrate(settings)),
        ];
        let render = |(component, config)| Ok((file_name(component), write(component, &config)?));
        files.into_iter().map(render).collect::<Result<_, _>>().map(Self)
    }

    /// The text of a component's file.
    pub(super) fn text(&self, component: Component) -> &str {
        self.0.get(&file_name(component)).map_or("", String::as_str)
    }
}

/// The name of a component's file, and its key in the `ConfigMap`.
pub(super) fn file_name(component: Component) -> String {
    format!("{}.yaml", component.as_str())
}

/// The `ConfigMap` with all files.
pub(super) fn build(id: &NestId, files: &Files) -> ConfigMap {
    ConfigMap {
        metadata: metadata::of(id, Component::Config),
        data: Some(files.0.clone()),
        ..ConfigMap::default()
    }
}

fn write(component: Component, config: &Config) -> Result<String, BuildError> {
    serde_yaml::to_string(config).map_err(|source| BuildError::Config {
        component: component.as_str(),
        source,
    })
}

fn api(settings: &Config) -> Config {
    Config {
        cache: CacheConfig {
            // It is the workers who load.
            prime: PrimeConfig::default(),
            ..settings.cache.clone()
        },
        stream: drained(settings),
        redis: settings.redis.clone(),
        postgres: served(settings),
        api: settings.api.clone(),
        worker: WorkerConfig::default(),
        log: settings.log.clone(),
    }
}

fn worker(settings: &Config) -> Config {
    Config {
        cache: settings.cache.clone(),
        stream: drained(settings),
        redis: settings.redis.clone(),
        postgres: served(settings),
        api: ApiConfig::default(),
        worker: settings.worker.clone(),
        log: settings.log.clone(),
    }
}

/// Over how many tables the entries are spread makes no difference to whoever reads and writes them.
fn served(settings: &Config) -> PostgresConfig {
    PostgresConfig {
        table_partitions: PostgresConfig::default().table_partitions,
        ..settings.postgres.clone()
    }
}

/// Which partitions there are is in the database, whoever wants how many.
fn drained(settings: &Config) -> StreamConfig {
    StreamConfig {
        partitions: StreamConfig::default().partitions,
        ..settings.stream.clone()
    }
}

/// It only needs to know the schema and the streams: how many connections others open must not make the migration run again.
fn migrate(settings: &Config) -> Config {
    let standard = PostgresConfig::default();
    Config {
        cache: CacheConfig::default(),
        stream: StreamConfig {
            ack_timeout: StreamConfig::default().ack_timeout,
            janitor_interval: StreamConfig::default().janitor_interval,
            ..settings.stream.clone()
        },
        redis: RedisConfig::default(),
        postgres: PostgresConfig {
            max_connections: standard.max_connections,
            statement_timeout: standard.statement_timeout,
            ..settings.postgres.clone()
        },
        api: ApiConfig::default(),
        worker: WorkerConfig::default(),
        log: settings.log.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let before = Files::render(&Config::default()).unwrap();
        let mut settings = Config::default();
        change(&mut settings);
        let after = Files::render(&settings).unwrap();
        before
            .0
            .into_iter()
            .filter(|(name, text)| after.0[name] != *text)
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn the_files_are_what_the_processes_read() {
        let files = Files::render(&Config::default()).unwrap();
        let read: Config = serde_yaml::from_str(files.text(Component::Api)).unwrap();
        assert_eq!(read, Config::default());
    }

    #[test]
    fn a_change_reaches_only_whom_it_concerns() {
        assert_eq!(changed(|to| to.worker.batch.size = 250), ["worker.yaml"]);
        assert_eq!(changed(|to| to.cache.prime.on_start = true), ["worker.yaml"]);
        assert_eq!(changed(|to| to.api.max_concurrent_requests = 9), ["api.yaml"]);
        assert_eq!(
            changed(|to| to.cache.max_value_bytes = 9),
            ["api.yaml", "worker.yaml"]
        );
        assert_eq!(
            changed(|to| to.postgres.max_connections = 9),
            ["api.yaml", "worker.yaml"]
        );
        assert_eq!(changed(|to| to.postgres.table_partitions = 8), ["migrate.yaml"]);
        assert_eq!(changed(|to| to.stream.partitions = 8), ["migrate.yaml"]);
        assert_eq!(changed(|to| "birds".clone_into(&mut to.postgres.schema)).len(), 3);
    }
}
