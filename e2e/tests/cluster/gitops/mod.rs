//! Nests that come from a Git repository: what was applied does not drift, and its health can be relied on.

mod drift;
mod example;
mod health;
mod kstatus;
mod timeline;
