//! kubectl and helm, as a person calls them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::Space;

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    /// Whether it succeeded.
    pub success: bool,
    /// What it printed.
    pub told: String,
    /// What it complained about.
    pub complained: String,
}

impl Space {
    /// What kubectl prints, run in this namespace with this on its standard input.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let ran = self.try_tool("kubectl", arguments, input);
        assert!(ran.success, "kubectl {arguments:?}: {ran:?}");
        ran.told
    }

    /// What helm prints, run in this namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn helm(&self, arguments: &[&str]) -> String {
        let ran = self.try_tool("helm", arguments, "");
        assert!(ran.success, "helm {arguments:?}: {ran:?}");
        ran.told
    }

    /// Runs a program in this namespace, whatever comes of it.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn try_tool(&self, program: &str, arguments: &[&str], input: &str) -> Ran {
        let run = || {
            let mut running = Command::new(program)
                .args(arguments)
                .args(["--namespace", &self.name])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = running.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            running.wait_with_output()
        };
        let output = run().unwrap_or_else(|error| panic!("{program}: {error}"));
        Ran {
            success: output.status.success(),
            told: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
