//! The thread that starts every child process.
//!
//! `PR_SET_PDEATHSIG` (set by `setpriv`) kills a child when the *thread* that started it ends. Tests run on threads
//! that end with the test, so children that outlive a test are started by a thread that lives as long as the process.

use std::{
    io,
    process::{Child, Command},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static KEEPER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            // The one who asked may have been cancelled meanwhile; the child then ends with this process.
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

/// Starts a child which is killed when this process ends, however that happens.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = mpsc::channel();
    let order = KEEPER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply));
    order.map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
