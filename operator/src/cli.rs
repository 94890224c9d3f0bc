//! What the operator is told: flags, each with an environment variable that the chart sets.

use std::net::SocketAddr;

use birbnest_core::config::{LogConfig, LogFormat, LogLevel};
use birbnest_crds::ImagePullPolicy;
use clap::{
    Parser,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};

use crate::{
    reconcile::{Images, Release},
    scope::Scope,
};

/// The label of a nest that says which of several operators looks after it.
const CLASS: &str = "birbnest.dev/class";

/// Reconciles BirbNest resources: API and workers, streams, schema migrations; scales the workers on queue depth.
#[derive(Clone, Debug, Parser)]
#[command(name = "birbnest-operator", version)]
pub struct Cli {
    /// Image with the data-plane binaries
    #[arg(long, env = "BIRBNEST_IMAGE", default_value = concat!("birbnest.local/birbnest:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Image of a managed Redis
    #[arg(long, env = "BIRBNEST_IMAGE_REDIS", default_value = "birbnest.local/redis:7")]
    pub image_redis: String,
    /// Image of a managed NATS
    #[arg(long, env = "BIRBNEST_IMAGE_NATS", default_value = "birbnest.local/nats:2.15")]
    pub image_nats: String,
    /// Image of a managed PostgreSQL
    #[arg(
        long,
        env = "BIRBNEST_IMAGE_POSTGRES",
        default_value = "birbnest.local/postgres:15"
    )]
    pub image_postgres: String,
    /// When images are pulled
    #[arg(long, env = "BIRBNEST_IMAGE_PULL_POLICY", value_parser = pull_policies())]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Address of the page of runbooks that alerts name: docs/runbooks.md, wherever it is published
    #[arg(long, env = "BIRBNEST_RUNBOOKS", default_value = "docs/runbooks.md")]
    pub runbooks: String,
    /// Where health and metrics are served
    #[arg(long, env = "BIRBNEST_LISTEN", default_value = "0.0.0.0:8082")]
    pub listen: SocketAddr,
    /// Namespaces to look after, separated by commas; none: all of the cluster
    #[arg(long, env = "BIRBNEST_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Class of the BirbNests to look after: those with this value of the label birbnest.dev/class; none: those without it
    #[arg(long, env = "BIRBNEST_CLASS", value_parser = NonEmptyStringValueParser::new())]
    pub class: Option<String>,
    /// Name of the Lease that says which operator leads
    #[arg(long, env = "BIRBNEST_LEASE", default_value = "birbnest-operator")]
    pub lease: String,
    /// Namespace of that Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// What this operator calls itself in the Lease; unique among those that run
    #[arg(long, env = "POD_NAME", default_value_t = host())]
    pub identity: String,
    /// Least severe level that is logged
    #[arg(long, env = "BIRBNEST_LOG_LEVEL", default_value = "info", value_parser = log_levels())]
    pub log_level: LogLevel,
    /// How a log line looks: json or text
    #[arg(long, env = "BIRBNEST_LOG_FORMAT", default_value = "json", value_parser = log_formats())]
    pub log_format: LogFormat,
}

impl Cli {
    /// How to log.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            level: self.log_level,
            format: self.log_format,
        }
    }

    /// Where to look.
    pub fn scope(&self) -> Scope {
        Scope::new(self.namespaces.iter().cloned())
    }

    /// Which nests to look after, as a selector of labels.
    pub fn selector(&self) -> String {
        match &self.class {
            Some(class) => format!("{CLASS}={class}"),
            None => format!("!{CLASS}"),
        }
    }

    /// What is rolled out.
    pub fn release(&self) -> Release {
        Release {
            images: Images {
                birbnest: self.image.clone(),
                redis: self.image_redis.clone(),
                nats: self.image_nats.clone(),
                postgres: self.image_postgres.clone(),
                pull_policy: self.image_pull_policy,
            },
            schema_version: birbnest_migrate::SCHEMA_VERSION,
            namespace: self.lease_namespace.clone(),
            runbooks: self.runbooks.clone(),
        }
    }
}

/// Outside a pod: one identity for each process of a machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", name.trim(), std::process::id())
}

fn pull_policies() -> impl TypedValueParser<Value = ImagePullPolicy> {
    PossibleValuesParser::new(["Always", "IfNotPresent", "Never"]).map(|name| match name.as_str() {
        "Always" => ImagePullPolicy::Always,
        "Never" => ImagePullPolicy::Never,
        _ => ImagePullPolicy::IfNotPresent,
    })
}

fn log_levels() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]).map(|name| match name.as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    })
}

fn log_formats() -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(["json", "text"]).map(|name| match name.as_str() {
        "text" => LogFormat::Text,
        _ => LogFormat::Json,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent_and_have_defaults() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["birbnest-operator", "--image-pull-policy", "Never"]);
        assert_eq!(cli.release().images.pull_policy, Some(ImagePullPolicy::Never));
        assert_eq!(cli.log(), LogConfig::default());
    }

    #[test]
    fn without_a_class_nests_that_have_one_are_left_alone() {
        let selector =
            |arguments: &[&str]| Cli::parse_from([&["birbnest-operator"], arguments].concat()).selector();
        assert_eq!(selector(&[]), "!birbnest.dev/class");
        assert_eq!(selector(&["--class", "canary"]), "birbnest.dev/class=canary");
    }

    #[test]
    fn an_unknown_policy_is_refused_with_the_known_ones() {
        let refused = Cli::try_parse_from(["birbnest-operator", "--image-pull-policy", "Often"]).unwrap_err();
        assert!(refused.to_string().contains("IfNotPresent"), "{refused}");
    }
}
