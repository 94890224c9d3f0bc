//! The project's own binaries.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use birbnest_core::config::Config;

use crate::servers::{Process, Recipe};

/// A binary with its configuration file and addresses.
#[derive(Clone, Debug)]
pub struct Binary {
    /// `birbnest-api`, `birbnest-worker`, `birbnest-migrate`.
    pub name: &'static str,
    /// The configuration file's text.
    pub config: String,
    /// The variables with the backends' addresses.
    pub addresses: Vec<(String, String)>,
    /// Arguments after `--config FILE`.
    pub arguments: Vec<String>,
}

impl Binary {
    /// The binary with this configuration.
    ///
    /// # Panics
    /// When the configuration cannot be written as YAML.
    pub fn new(name: &'static str, config: &Config, addresses: &[(String, String)]) -> Self {
        let config = serde_yaml::to_string(config).unwrap_or_else(|error| panic!("configuration: {error}"));
        Self {
            name,
            config,
            addresses: addresses.to_vec(),
            arguments: vec![],
        }
    }

    /// A process called `name`, not started yet, whose files are in `directory`.
    ///
    /// # Panics
    /// When the configuration file cannot be written.
    pub fn process(&self, name: &str, directory: &Path) -> Process {
        let file = directory.join(format!("{name}.yaml"));
        if let Err(error) = fs::write(&file, &self.config) {
            panic!("cannot write {}: {error}", file.display());
        }
        let mut arguments = vec!["--config".into(), file.into()];
        arguments.extend(self.arguments.iter().map(Into::into));
        let recipe = Recipe {
            program: built(self.name),
            arguments,
            environment: self.addresses.clone(),
            user: None,
        };
        Process::new(name, recipe, directory)
    }

    /// Runs it to its end; returns how it ended and what it wrote.
    pub async fn run(&self, directory: &Path) -> (ExitStatus, String) {
        let process = self.process(self.name, directory);
        process.start();
        (process.until_ended().await, process.log())
    }
}

/// Applies the schema and creates the streams.
///
/// # Panics
/// When that fails.
pub async fn migrate(config: &Config, addresses: &[(String, String)], directory: &Path) {
    let mut binary = Binary::new("birbnest-migrate", config, addresses);
    binary.arguments = vec!["--with-streams".to_owned()];
    let (status, log) = binary.run(directory).await;
    assert!(status.success(), "birbnest-migrate ended with {status}:\n{log}");
}

/// Where a program of ours is: in `BIRBNEST_BIN`, or among the release binaries of this checkout.
///
/// # Panics
/// When it is not there.
pub fn built(name: &str) -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    let folder = env::var_os("BIRBNEST_BIN").map_or_else(|| target.join("release"), PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --release`",
        path.display()
    );
    path
}
