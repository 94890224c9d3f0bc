//! The instrument that proves the promise: clients write, delete, read and increment through every API while servers
//! and processes are killed, frozen, filled up and restored; everything they were answered is recorded; a checker that
//! shares no code with the product compares it with what is there at the end.
//!
//! - [`history`]: what was asked and answered.
//! - [`crew`]: who asks.
//! - [`faults`]: what goes wrong, and the schedule of it.
//! - [`checker`]: what must be true of a history.
//! - [`run`]: all of it together, over a [`crate::house::House`].
//! - [`report`]: the table, and the same as JSON.

pub mod checker;
pub mod crew;
pub mod faults;
pub mod history;
pub mod report;
pub mod run;
