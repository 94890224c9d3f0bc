//! Wrong clocks: libfaketime answers for the kernel when a program asks what time it is.

use std::{env::consts::ARCH, path::PathBuf};

/// What to put before a command to make its clock wrong by so many seconds. The one who starts it is not told: as another
/// user it would make what the program may not open.
///
/// # Panics
/// When libfaketime is not installed.
pub(super) fn wrong_by(seconds: i64) -> [String; 4] {
    let library = PathBuf::from(format!("/usr/lib/{ARCH}-linux-gnu/faketime/libfaketimeMT.so.1"));
    assert!(
        library.is_file(),
        "{} is missing: run e2e/scripts/prerequisites servers",
        library.display()
    );
    [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME={seconds:+}"),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ]
}
