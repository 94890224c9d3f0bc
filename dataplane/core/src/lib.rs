//! The words of BirbNest's protocol: keys, versions, entries, the messages of the persist stream, and the
//! configuration file. Nothing here does I/O.

pub mod config;
