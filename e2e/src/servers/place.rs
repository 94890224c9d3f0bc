//! Ports and directories of the child processes.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A number that no other caller in this process gets.
pub(crate) fn unique() -> u32 {
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

/// A port on which nobody listens, on no address of this machine.
///
/// It lies below the range from which the kernel takes ports for outgoing connections: else, while a server is
/// stopped in the middle of a story, somebody's connection could sit on its port.
///
/// # Panics
/// When every port of the range is taken.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const RANGE: u32 = 20_000;
    let start = process::id().wrapping_mul(97);
    for _ in 0..RANGE {
        let offset = start.wrapping_add(unique()) % RANGE;
        let Ok(port) = u16::try_from(FIRST + offset) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port")
}

/// A fresh directory, removed by a later run when this process is gone.
///
/// # Panics
/// When it cannot be made.
pub fn fresh_directory(name: &str) -> PathBuf {
    static SWEEP: Once = Once::new();
    let base = env::temp_dir().join("birbnest-e2e");
    SWEEP.call_once(|| sweep(&base));
    let path = base.join(format!("{}-{}-{name}", process::id(), unique()));
    if let Err(error) = fs::create_dir_all(&path) {
        panic!("cannot make the directory {}: {error}", path.display());
    }
    path
}

/// Removes what processes left that are gone: a killed test cannot clean up after itself.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_string_lossy()
            .split('-')
            .next()
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be sweeping the same directory.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The program's path: the variable's value, or the first of the name in `$PATH`, the other directories, or the cache.
///
/// # Panics
/// When it is nowhere; the message says what to do.
pub fn program(name: &str, variable: &str, others: &[&str]) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let others = others.iter().map(PathBuf::from).chain([cache().join("bin")]);
    let found = env::split_paths(&path)
        .chain(others)
        .map(|folder| folder.join(name))
        .find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run e2e/scripts/prerequisites, or name the program in {variable}")
    })
}

/// Where the scripts of `e2e/` keep what is downloaded or built once.
fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("BIRBNEST_CACHE") {
        return PathBuf::from(cache);
    }
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    env::var_os("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("birbnest")
}
