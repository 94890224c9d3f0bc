//! The stages of a reconciliation, in the order in which an object passes them.

pub mod build;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod validate;
