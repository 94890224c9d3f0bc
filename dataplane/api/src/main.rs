//! `birbnest-api`: serves the cache over HTTP.

use std::{path::PathBuf, process::ExitCode};

use birbnest_service::Threads;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves a BirbNest cache over HTTP: reads from Redis, writes through NATS JetStream.
///
/// The addresses of the backends come from the environment: `BIRBNEST_REDIS_URL`, `BIRBNEST_NATS_URL` and
/// `BIRBNEST_POSTGRES_URL`.
#[derive(Parser)]
#[command(name = "birbnest-api", version)]
struct Arguments {
    /// The configuration file, in YAML; an empty one means the defaults.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is not HTTP: one connection to NATS, the accepting of connections, and looks at the fence.
    birbnest_service::launch(&arguments.config, Threads::One, birbnest_api::run)
}
