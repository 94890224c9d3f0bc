//! What is made from the files of a mounted Secret, and made anew when they change: a certificate that was renewed or a key that
//! was taken away counts without a restart.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use crate::Shutdown;

/// Between two looks at the files. A kubelet takes up to a minute or two to bring a change there.
const LOOK: Duration = Duration::from_secs(5);
/// A Secret has no room for more.
const MOST_BYTES: u64 = 1 << 20;

/// What the files of a folder hold, by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Why nothing could be made from the files.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// They cannot be read.
    #[error("cannot read {folder}: {source}")]
    Read {
        /// Where they should be.
        folder: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// They do not hold what they should.
    #[error("cannot use what {folder} holds: {source}")]
    Content {
        /// Where they are.
        folder: String,
        /// What is wrong with them.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The folder of a mounted Secret.
pub struct Mount {
    folder: PathBuf,
    /// Between two looks.
    period: Duration,
}

impl Mount {
    /// The one that is mounted there.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            period: LOOK,
        }
    }

    /// Makes something from the files, and again whenever they change, until the shutdown. While what they hold cannot be used,
    /// the last that could be is kept, and the log says so.
    ///
    /// # Errors
    /// When the files cannot be used now.
    pub fn follow<T, E>(
        self,
        shutdown: &Shutdown,
        make: impl Fn(&Files) -> Result<T, E> + Send + 'static,
    ) -> Result<Arc<ArcSwap<T>>, MountError>
    where
        T: Send + Sync + 'static,
        E: Error + Send + Sync + 'static,
    {
        let mut seen = self.read()?;
        let first = make(&seen).map_err(|error| self.refused(error))?;
        let current = Arc::new(ArcSwap::from_pointee(first));
        let (kept, shutdown) = (Arc::clone(&current), shutdown.clone());
        tokio::spawn(async move {
            let mut looks = interval(self.period);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while shutdown.or(looks.tick()).await.is_some() {
                let files = match self.read() {
                    Ok(files) if files == seen => continue,
                    Ok(files) => files,
                    Err(error) => {
                        tracing::error!(%error, "what was read before is kept");
                        continue;
                    }
                };
                match make(&files) {
                    Ok(new) => {
                        kept.store(Arc::new(new));
                        tracing::info!(folder = %self.folder.display(), "read again: it has changed");
                    }
                    Err(error) => {
                        tracing::error!(error = %self.refused(error), "what was read before is kept");
                    }
                }
                seen = files;
            }
        });
        Ok(current)
    }

    fn read(&self) -> Result<Files, MountError> {
        read(&self.folder).map_err(|source| MountError::Read {
            folder: self.folder.display().to_string(),
            source,
        })
    }

    fn refused(&self, error: impl Error + Send + Sync + 'static) -> MountError {
        MountError::Content {
            folder: self.folder.display().to_string(),
            source: error.into(),
        }
    }
}

/// The kubelet keeps its own files beside the Secret's, under names that start with two dots.
fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let about = fs::metadata(entry.path())?;
        if name.starts_with("..") || !about.is_file() {
            continue;
        }
        if about.len() > MOST_BYTES {
            return Err(io::Error::other(format!(
                "{name} is longer than {MOST_BYTES} bytes"
            )));
        }
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{num::ParseIntError, sync::mpsc};

    use super::*;

    fn number(files: &Files) -> Result<u32, ParseIntError> {
        String::from_utf8_lossy(&files["number"]).parse()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_change_counts_and_what_cannot_be_used_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| {
            // As a kubelet does it: never half of a file.
            fs::write(folder.path().join("..new"), text).unwrap();
            fs::rename(folder.path().join("..new"), folder.path().join("number")).unwrap();
        };
        write("1");
        let (tell, told) = mpsc::channel();
        let make = move |files: &Files| {
            let made = number(files);
            tell.send(made.clone().ok()).unwrap();
            made
        };
        let mount = Mount {
            period: Duration::from_millis(5),
            ..Mount::at(folder.path())
        };
        let current = mount.follow(&Shutdown::new(), make).unwrap();
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), **current.load()), (Some(1), 1));
        write("two");
        assert_eq!((next(), **current.load()), (None, 1), "what was there is kept");
        write("3");
        assert_eq!(next(), Some(3));
        write("four");
        assert_eq!((next(), **current.load()), (None, 3));
    }

    #[tokio::test]
    async fn what_cannot_be_used_at_first_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("number"), "one").unwrap();
        let follow = |folder: &Path| Mount::at(folder).follow(&Shutdown::new(), number);
        let refused = follow(folder.path()).unwrap_err();
        assert!(
            refused.to_string().ends_with("invalid digit found in string"),
            "{refused}"
        );
        let missing = follow(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read "), "{missing}");
    }
}
