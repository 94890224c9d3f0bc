//! How much a server trusts the machine.

/// Whether what a server acknowledged waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It does, as in production: for benchmarks.
    Synced,
    /// It does not: tests kill processes, not machines.
    Trusted,
}
