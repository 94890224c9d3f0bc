//! Log lines on the standard error.

use std::io;

use birbnest_core::config::{LogConfig, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// Libraries whose debug lines drown everybody else's.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,rustls=info,sqlx=warn,tower=info";

/// The client of NATS tells at `info` and `error` what our own lines tell once: that a connection came or went.
const SILENT: &str = "async_nats=off";

/// Starts logging. `RUST_LOG` overrides the configured level. Where a subscriber exists already (in tests), it stays.
pub(crate) fn init(config: &LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(config.level))
        .with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "a subscriber exists already, it stays");
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(level)))
}

/// The quiet ones are only named where their own level would be more talkative.
fn directives(level: &str) -> String {
    match level {
        "debug" | "trace" => format!("{level},{SILENT},{QUIET}"),
        _ => format!("{level},{SILENT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directives_of_each_level_are_well_formed() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            EnvFilter::builder().parse(directives(level)).unwrap();
        }
    }
}
