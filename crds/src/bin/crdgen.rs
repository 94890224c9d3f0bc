//! Prints the definition of the BirbNest resource; with `--write` it goes to the file that is installed.

use std::{env, error::Error, fs, io::Write, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = birbnest_crds::manifest()?;
    match env::args().nth(1).as_deref() {
        None => std::io::stdout().write_all(manifest.as_bytes())?,
        Some("--write") => {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("birbnests.birbnest.dev.yaml");
            fs::write(file, manifest)?;
        }
        Some(other) => return Err(format!("unknown argument {other:?}: the only one is --write").into()),
    }
    Ok(())
}
