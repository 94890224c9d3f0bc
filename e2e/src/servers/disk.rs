//! How much a server trusts the machine, and a disk that can be full.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// Whether what a server acknowledged waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It does, as in production: for benchmarks.
    Synced,
    /// It does not: tests kill processes, not machines.
    Trusted,
    /// It does not, and NATS has a disk of its own, which can be filled.
    Small,
}

/// Bytes on a small disk.
const SIZE: usize = 128 << 20;

/// A small file system in memory.
#[derive(Debug)]
pub(super) struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts one there.
    ///
    /// # Panics
    /// When that is not allowed: it needs root.
    pub(super) fn mount(place: &Path) -> Self {
        let made = std::fs::create_dir_all(place);
        made.unwrap_or_else(|error| panic!("cannot make {}: {error}", place.display()));
        let size = format!("size={SIZE}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(place)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "cannot mount a file system on {}: that needs root",
            place.display()
        );
        Self {
            place: place.to_owned(),
        }
    }

    /// Leaves no room on it.
    ///
    /// # Panics
    /// When nothing can be written to it in the first place.
    pub(super) fn fill(&self) {
        let filler = self.filler();
        let file = File::create(&filler);
        let mut file = file.unwrap_or_else(|error| panic!("cannot write {}: {error}", filler.display()));
        let block = [0; 4096];
        // Ends with "no space left on device".
        while file.write_all(&block).is_ok() {}
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not filled.
    pub(super) fn clear(&self) {
        let filler = self.filler();
        let removed = std::fs::remove_file(&filler);
        removed.unwrap_or_else(|error| panic!("cannot remove {}: {error}", filler.display()));
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that has just been killed may hold it for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}
