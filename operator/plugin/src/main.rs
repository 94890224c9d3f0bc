//! `kubectl birbnest`: what a BirbNest does, its dead letters, and what a report of a problem needs. Speaks to the API server
//! alone, with the rights of whoever runs it: the HTTP API of a nest is reached through the proxy of its Service.
#![allow(clippy::print_stderr, reason = "an error is told to whoever runs it")]

mod http_api;
mod letters;
mod nests;
mod status;
mod support;

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::{Client, Config, config::KubeConfigOptions};

use http_api::HttpApi;
use letters::Letters;

/// Shows what a BirbNest does, and looks after its dead letters.
#[derive(Debug, Parser)]
#[command(name = "kubectl-birbnest", bin_name = "kubectl birbnest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Namespace; default: that of the kubeconfig's context
    #[arg(long, short, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig; default: the current one
    #[arg(long, global = true)]
    context: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The way of a write, from the API to PostgreSQL: what runs, what waits, and what is the matter
    Status {
        /// The BirbNest; without it a line for each of the namespace
        name: Option<String>,
    },
    /// Writes that were acknowledged and that PostgreSQL rejects
    DeadLetters {
        /// The BirbNest
        name: String,
        #[command(subcommand)]
        what: Option<Letters>,
    },
    /// Loads entries into Redis, behind the writes
    Prime {
        /// The BirbNest
        name: String,
        /// Only keys that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most so many keys: 1 to 100000
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Prints what a report of a problem needs: objects, events, health and the last logs; no Secret, no key, no value
    Support {
        /// The BirbNest
        name: String,
        /// Lines of each log
        #[arg(long, default_value_t = 200)]
        lines: i64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse(), &mut io::stdout().lock()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, such as `head`.
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            let (what, why) = (&causes[0], &causes[causes.len() - 1]);
            if what == why {
                eprintln!("error: {what}");
            } else {
                eprintln!("error: {what}: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

async fn run(cli: Cli, out: &mut impl Write) -> anyhow::Result<()> {
    let options = KubeConfigOptions {
        context: cli.context,
        ..KubeConfigOptions::default()
    };
    let config = Config::from_kubeconfig(&options)
        .await
        .context("the kubeconfig cannot be used")?;
    let namespace = cli.namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config)?;
    let api = async |name: &str| {
        let nest = nests::read(&client, &namespace, name).await?;
        anyhow::Ok(HttpApi::of(&client, &nest))
    };
    let told = match cli.command {
        Command::Status { name: Some(name) } => status::of(&client, &namespace, &name).await?,
        Command::Status { name: None } => status::of_all(&client, &namespace).await?,
        Command::DeadLetters { name, what } => what.unwrap_or_default().run(&api(&name).await?).await?,
        Command::Prime { name, prefix, limit } => {
            let request = serde_json::json!({ "prefix": prefix, "limit": limit });
            let begun = api(&name).await?.post("/v1/admin/prime", Some(&request)).await?;
            format!("requested: {}\n", begun["id"].as_str().unwrap_or_default())
        }
        Command::Support { name, lines } => {
            return support::print(&client, &namespace, &name, lines, out).await;
        }
    };
    out.write_all(told.as_bytes())?;
    Ok(())
}
