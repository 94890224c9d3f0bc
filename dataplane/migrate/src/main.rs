//! `birbnest-migrate`: brings the schema up to date and ends.

use std::{fs, path::PathBuf, process::ExitCode};

use birbnest_migrate::{MigrateError, Tasks, run};
use birbnest_service::Threads;
use clap::Parser;

/// Where Kubernetes looks for a container's last words (`terminationMessagePath`).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Brings the database schema up to date and ends. Running it again, or twice at once, is safe.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also creates the streams and consumers: for running without the operator.
    #[arg(long)]
    with_streams: bool,
    /// Drops the schema with everything in it, instead of bringing it up to date.
    #[arg(long, conflicts_with = "with_streams")]
    drop_schema: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let tasks = Tasks {
        with_streams: arguments.with_streams,
        drop_schema: arguments.drop_schema,
    };
    birbnest_service::launch(
        &arguments.config,
        Threads::One,
        |config, secrets, shutdown| async move {
            // Cut in the middle, the migration in progress is rolled back, and the lock ends with the connection.
            let outcome = shutdown.or(Box::pin(run(&config, &secrets, tasks))).await;
            outcome
                .unwrap_or(Err(MigrateError::Interrupted))
                .inspect_err(leave_last_words)
        },
    )
}

/// So that the operator can say in the nest's status why a migration failed.
fn leave_last_words(error: &MigrateError) {
    // Opened and not created: outside Kubernetes there is no such file.
    let written = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG)
        .and_then(|mut file| {
            use std::io::Write as _;
            file.write_all(error.to_string().as_bytes())
        });
    if let Err(error) = written {
        tracing::debug!(%error, "no termination log");
    }
}
