//! Prints the table of docs/scaling.md.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use birbnest_scaling::table::{lines, markdown};

fn main() {
    print!("{}", markdown(&lines()));
}
