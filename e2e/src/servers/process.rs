//! A child process with a log file, which a story can stop, kill, freeze and start again.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{clock, keeper};
use crate::wait::{eventually, eventually_within, seen};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables on top of this process' own.
    pub environment: Vec<(String, String)>,
    /// The user to run as when this process is root; PostgreSQL refuses to be root.
    pub user: Option<&'static str>,
}

/// A child process. It is killed when it is dropped or when this process ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    recipe: Recipe,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// Seconds by which its clock is wrong.
    clock: AtomicI64,
}

/// The states of a thread that does something or would if something happened: running, sleeping, in the kernel.
const RUNNING: [char; 3] = ['R', 'S', 'D'];

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

impl Process {
    /// A process that is not running yet. Its standard output and error are appended to a log file in `directory`.
    pub fn new(name: &str, recipe: Recipe, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            recipe,
            log,
            child: Mutex::new(None),
            clock: AtomicI64::new(0),
        }
    }

    /// Makes its clock wrong by so many seconds from its next start on; 0 makes it right. What it measures by the
    /// monotonic clock stays right. A program without the C library, such as NATS, does not notice.
    pub fn shift_clock(&self, seconds: i64) {
        self.clock.store(seconds, Ordering::Relaxed);
    }

    /// Starts it; whether it is ready is for the caller to find out.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(&self) {
        match keeper::spawn(self.command()) {
            Ok(child) => *self.child() = Some(child),
            Err(error) => panic!("cannot start {}: {error}", self.recipe.program.display()),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = self.recipe.user.filter(|_| runs_as_root()) {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command.arg("--");
        let clock = self.clock.load(Ordering::Relaxed);
        if clock != 0 {
            command.args(clock::wrong_by(clock));
        }
        command.arg(&self.recipe.program).args(&self.recipe.arguments);
        command.envs(self.recipe.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(self.open_log())
            .stderr(self.open_log());
        command
    }

    fn open_log(&self) -> File {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        file.unwrap_or_else(|error| panic!("cannot write {}: {error}", self.log.display()))
    }

    /// The child's process id, when it was started and not yet found to have ended.
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// How the process ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child()
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it has not ended within 30 s.
    pub async fn stop(&self) -> ExitStatus {
        self.terminate();
        self.until_ended().await
    }

    /// Asks it to end (SIGTERM) without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it has not ended within 30 s.
    pub async fn until_ended(&self) -> ExitStatus {
        let status = eventually_within(GRACE, &format!("{} ends", self.name), || async {
            self.ended().ok_or("it is still running")
        })
        .await;
        *self.child() = None;
        status
    }

    /// Kills it (SIGKILL): it gets no chance to tidy up.
    pub fn kill9(&self) {
        if let Some(mut child) = self.child().take() {
            // It may have ended by itself; either way it is gone and reaped afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops its clock and those of the processes it started (SIGSTOP): connections stay open and nothing answers.
    /// Returns once every thread stands still; the signal alone lets those that run finish what they do.
    ///
    /// # Panics
    /// When it is not running.
    pub async fn freeze(&self) {
        self.signal("STOP");
        eventually(&format!("{} stands still", self.name), || async {
            // Until it stands still itself it may start more of them.
            self.signal_children("STOP");
            let family = self.id().map(family_of).unwrap_or_default();
            let states: String = family.iter().map(|id| states_of(id)).collect();
            seen(states, |states| !states.contains(RUNNING))
        })
        .await;
    }

    /// Lets a frozen process go on, and those it started (SIGCONT).
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&self) {
        self.signal("CONT");
        self.signal_children("CONT");
    }

    /// Sends a signal by name, such as `HUP`.
    ///
    /// # Panics
    /// When the process is not running.
    pub fn signal(&self, signal: &str) {
        let Some(running) = self.running() else {
            panic!("{} is not running", self.name)
        };
        running.signal(signal);
    }

    /// Sends a signal to every process that it has started itself.
    fn signal_children(&self, signal: &str) {
        let children = self.id().map(children_of).unwrap_or_default();
        // One may end at this moment, which is no failure of anybody.
        let _ = Command::new("kill")
            .args(["-s", signal])
            .args(children)
            .stderr(Stdio::null())
            .status();
    }

    /// What it wrote so far, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Prints the end of its log, for the reader of a failed test.
    pub fn print_log(&self) {
        eprintln!("---- {} ----\n{}", self.name, tail(&self.log(), 6_000));
    }

    /// Its name, as in the log file's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `eventually`: an error when it has ended, so that nobody waits for a dead process.
    ///
    /// # Panics
    /// When it has ended; the message holds the end of its log.
    pub fn assert_running(&self) {
        if let Some(status) = self.ended() {
            panic!("{} ended with {status}:\n{}", self.name, tail(&self.log(), 4_000));
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The ids of the processes whose parent this is.
fn children_of(parent: u32) -> Vec<String> {
    let everybody = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = everybody.filter(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.and_then(|id| id.trim().parse().ok()) == Some(parent)
    });
    children
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The process and those it started itself.
fn family_of(parent: u32) -> Vec<String> {
    let mut family = children_of(parent);
    family.push(parent.to_string());
    family
}

/// What the threads of a process do, as the kernel shows it: `T` is stopped, `Z` has ended.
fn states_of(process: &str) -> String {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let states = threads.into_iter().flatten().flatten().filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"))?;
        state.trim_start().chars().next()
    });
    states.collect()
}

/// The last `bytes` of a text, from the start of a line where possible.
fn tail(text: &str, bytes: usize) -> &str {
    let start = text.len().saturating_sub(bytes);
    let start = (start..text.len())
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0);
    &text[start..]
}

fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}
