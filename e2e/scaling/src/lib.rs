//! Arrivals replayed, second by second, through the operator's scaling rule and through KEDA's.
//!
//! - [`traces`]: what arrives, and what the database can take.
//! - [`world`]: a queue, workers that take a while to start, and what the waiting cost.
//! - [`ours`] and [`keda`]: who decides how many workers there should be.
//! - [`table`]: both side by side; KEDA with each of many thresholds, so that it is judged by its best.
//!
//! Time is simulated: an hour takes milliseconds. Everything is the same in every run.

pub mod keda;
pub mod ours;
pub mod table;
pub mod traces;
pub mod world;
