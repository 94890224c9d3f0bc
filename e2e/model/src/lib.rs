//! A model of the write path and the read path, explored state by state.
//!
//! - [`one_epoch`]: one key while the stream keeps its sequence: clients, Redis, the worker, the janitor, and what can
//!   go wrong with each.
//! - [`epochs`]: one key over several epochs: a stream whose store came back older, and the fence.
//! - [`layouts`]: one key while the keys are spread over other partitions.
//! - [`variants`]: the protocol under each kind of fault, and the protocol without one of its rules. The latter must
//!   break: that is why the rule is there.
//! - [`explore`]: breadth first, so the first trace of a violation is a shortest one.
//!
//! Time is abstract. The horizon is a token: it ends when every write that was in flight at its start, also one held
//! in a connection, is over. Not modelled: several keys in a batch, elections of replicas, clocks, rejected rows, a
//! database that loses a commit, the delay until a pod has seen a raised cache generation.

pub mod epochs;
pub mod explore;
pub mod layouts;
pub mod one_epoch;
pub mod variants;
