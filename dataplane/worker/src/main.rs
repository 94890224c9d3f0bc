//! `birbnest-worker`: moves acknowledged writes from the persist streams into PostgreSQL.

use std::{path::PathBuf, process::ExitCode};

use birbnest_service::Threads;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Moves acknowledged writes from NATS JetStream into PostgreSQL, and keeps the streams short.
///
/// The addresses of the backends come from the environment: `BIRBNEST_REDIS_URL`, `BIRBNEST_NATS_URL` and
/// `BIRBNEST_POSTGRES_URL`.
#[derive(Parser)]
#[command(name = "birbnest-worker", version)]
struct Arguments {
    /// The configuration file, in YAML; an empty one means the defaults.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    birbnest_service::launch(
        &arguments.config,
        Threads::PerCore,
        async |config, secrets, shutdown| {
            let listener = birbnest_worker::listen(config.worker.listen).await?;
            Box::pin(birbnest_worker::run(listener, config, secrets, shutdown)).await
        },
    )
}
