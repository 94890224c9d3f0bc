//! `birbnest-operator`: reconciles `BirbNest` resources.

use std::process::ExitCode;

use birbnest_operator::{Cli, run};
use birbnest_service::Threads;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    birbnest_service::launch_with(&cli.log(), Threads::PerCore, |shutdown| run(cli, shutdown))
}
