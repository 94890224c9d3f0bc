//! A process of this machine, whoever started it, as Linux sees it.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use super::Process;

/// Ticks per second in `/proc` (`USER_HZ`), which is 100 on every Linux that Rust runs on.
const TICKS: u32 = 100;

/// A process by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running(u32);

impl Running {
    /// The one whose program has this name and whose environment has this variable, given as `NAME=value`.
    pub fn find(program: &str, variable: &str) -> Option<Self> {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers
            .map(Self)
            .find(|process| process.runs(program) && process.has(variable))
    }

    fn runs(self, program: &str) -> bool {
        fs::read_link(self.file("exe")).is_ok_and(|exe| exe.ends_with(program))
    }

    fn has(self, variable: &str) -> bool {
        let environment = fs::read(self.file("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|found| found == variable.as_bytes())
    }

    /// What it has in memory now, in MB; 0 when it is gone.
    pub fn resident_mb(self) -> f64 {
        self.status_mb("VmRSS:")
    }

    /// The most that it ever had in memory, in MB; 0 when it is gone.
    pub fn peak_mb(self) -> f64 {
        self.status_mb("VmHWM:")
    }

    fn status_mb(self, field: &str) -> f64 {
        let status = fs::read_to_string(self.file("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kilobytes.unwrap_or_default() / 1024.0
    }

    /// Processor time that it has used, of its own and in the kernel; 0 when it is gone.
    pub fn cpu(self) -> Duration {
        let stat = fs::read_to_string(self.file("stat")).unwrap_or_default();
        // The name of the program, in parentheses, may contain anything.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let used = fields.skip(11).take(2);
        let ticks: u32 = used.filter_map(|text| text.parse::<u32>().ok()).sum();
        Duration::from_secs(1) * ticks / TICKS
    }

    /// Sends it a signal by name, such as `HUP`.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(self, signal: &str) {
        let number = self.0.to_string();
        let sent = Command::new("kill").args(["-s", signal, &number]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot send SIG{signal} to the process {number}"
        );
    }

    fn file(self, name: &str) -> PathBuf {
        ["/proc", &self.0.to_string(), name].iter().collect()
    }
}

impl Process {
    /// The process, when it was started and not yet found to have ended.
    pub fn running(&self) -> Option<Running> {
        self.id().map(Running)
    }

    /// What it has in memory now, in MB; 0 when it is not running.
    pub fn resident_mb(&self) -> f64 {
        self.running().map_or(0.0, Running::resident_mb)
    }

    /// The most that it ever had in memory, in MB; 0 when it is not running.
    pub fn peak_mb(&self) -> f64 {
        self.running().map_or(0.0, Running::peak_mb)
    }
}
