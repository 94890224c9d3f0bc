//! Prints the definition of the BirbNest resource, or, with `--reference`, the page about its fields.

mod reference;

use std::{env, error::Error, io::Write};

fn main() -> Result<(), Box<dyn Error>> {
    let text = match env::args().nth(1).as_deref() {
        None => birbnest_crds::manifest()?,
        Some("--reference") => reference::page(&birbnest_crds::definition()?)?,
        Some(other) => return Err(format!("unknown argument {other:?}: the only one is --reference").into()),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
