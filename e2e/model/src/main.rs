//! Explores the variants of the model and says whether each came out as it must. Exits 1 when one did not.
#![allow(clippy::print_stdout, reason = "the verdicts are what this program is for")]

use std::{process::ExitCode, time::Instant};

use birbnest_model::{
    explore::Bounds,
    variants::{self, Variant},
};
use clap::Parser;

/// Explores the protocol, state by state.
#[derive(Debug, Parser)]
struct Settings {
    /// Only variants whose name contains this.
    #[arg(default_value = "")]
    name: String,
    /// Prints a shortest way to each violation.
    #[arg(long)]
    trace: bool,
    /// Gives up a variant beyond so many states (24 bytes each, and what the widest depth needs).
    #[arg(long, default_value_t = 60_000_000)]
    states: usize,
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let chosen = variants::all()
        .into_iter()
        .filter(|variant| variant.name.contains(&settings.name));
    let confirmed: Vec<bool> = chosen.map(|variant| told(&variant, &settings)).collect();
    let wrong = confirmed.iter().filter(|confirmed| !**confirmed).count();
    println!("{} variants, {wrong} not as they must be", confirmed.len());
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Explores one variant and prints what came out.
fn told(variant: &Variant, settings: &Settings) -> bool {
    let began = Instant::now();
    let bounds = Bounds {
        states: settings.states,
        until: None,
    };
    let report = variant.explore(bounds);
    let confirmed = variant.is_confirmed_by(&report);
    let mark = if confirmed { "as it must" } else { "WRONG" };
    println!(
        "{:70} {report} [{mark}, {:.0} s]",
        variant.name,
        began.elapsed().as_secs_f32()
    );
    if settings.trace {
        for (property, trace) in &report.broken {
            println!("  {property}:");
            for line in trace {
                println!("    {line}");
            }
        }
    }
    confirmed
}
