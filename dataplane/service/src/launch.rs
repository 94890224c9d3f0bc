//! From arguments to a running process, and to its exit code.

use std::{error::Error, panic, path::Path, process::ExitCode, thread};

use birbnest_core::config::{Config, LogConfig, Secrets};

use tokio::runtime::Builder;

use crate::{Shutdown, logging};

/// Exit code of work that failed.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a configuration that cannot be used: starting again does not help.
pub const EXIT_INVALID_CONFIG: u8 = 2;

/// Which threads the work's tasks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// All on one: for work that is mostly waiting, or has threads of its own ([`Cores`](crate::Cores)).
    One,
    /// On as many as there are cores; a task may move between them.
    PerCore,
}

/// Runs a data-plane binary: reads its configuration file and secrets, starts logging and the runtime, and runs `work`
/// until it ends. `work` is told by the [`Shutdown`] when SIGTERM or SIGINT came.
///
/// The exit code is 0 when `work` succeeded, [`EXIT_INVALID_CONFIG`] when the file or a secret cannot be used (the
/// standard error names the field), else [`EXIT_FAILURE`].
pub fn launch<W, F, E>(config: &Path, threads: Threads, work: W) -> ExitCode
where
    W: FnOnce(Config, Secrets, Shutdown) -> F,
    F: Future<Output = Result<(), E>>,
    E: Error,
{
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(error) => return invalid(&error),
    };
    let secrets = match Secrets::from_env() {
        Ok(secrets) => secrets,
        Err(error) => return invalid(&error),
    };
    let log = config.log.clone();
    launch_with(&log, threads, |shutdown| work(config, secrets, shutdown))
}

/// Runs a binary that has no configuration file, as [`launch`] does.
pub fn launch_with<W, F, E>(log: &LogConfig, threads: Threads, work: W) -> ExitCode
where
    W: FnOnce(Shutdown) -> F,
    F: Future<Output = Result<(), E>>,
    E: Error,
{
    logging::init(log);
    log_panics();
    // A provider that is installed already (by a test of the same process) serves as well.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(threads, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!(error = message, "the process ends with a failure");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn run<W, F, E>(threads: Threads, work: W) -> Result<(), String>
where
    W: FnOnce(Shutdown) -> F,
    F: Future<Output = Result<(), E>>,
    E: Error,
{
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::PerCore => Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(async {
        let shutdown =
            Shutdown::on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
        work(shutdown).await.map_err(|error| with_causes(&error))
    })
}

/// The configuration says how to log, so without one this is plain text.
#[allow(
    clippy::print_stderr,
    reason = "there is no logger before the configuration is read"
)]
fn invalid(error: &dyn Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(EXIT_INVALID_CONFIG)
}

/// The error and its causes; a cause that its parent's text contains already is not repeated.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// A panic of any thread becomes a log line like every other.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string);
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let thread = thread::current();
        tracing::error!(location, thread = thread.name(), "panicked: {message}");
    }));
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot drain")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_told_with_its_causes() {
        assert_eq!(
            with_causes(&Outer(io::Error::other("no route"))),
            "cannot drain: no route"
        );
    }

    #[test]
    fn a_missing_configuration_file_exits_2() {
        let code = launch(
            Path::new("/nowhere/birbnest.yaml"),
            Threads::One,
            |_, _, _| async { Ok::<_, io::Error>(()) },
        );
        assert_eq!(
            format!("{code:?}"),
            format!("{:?}", ExitCode::from(EXIT_INVALID_CONFIG))
        );
    }
}
