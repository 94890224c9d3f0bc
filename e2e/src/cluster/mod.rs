//! Stories on a real cluster, which has the operator installed: a namespace per story, nests in it, and backends that a
//! story can stop.

mod backends;
mod door;
mod foreign;
mod nest;
mod operators;
mod own_operator;
mod report;
mod space;
mod tools;

pub use backends::Backends;
pub use door::{Door, Verdict};
pub use foreign::ForeignKind;
pub use nest::{Child, Nest, condition_of, is_rolled_out, is_true};
pub use operators::Operator;
pub use own_operator::OwnOperator;
pub use report::print_report;
pub use space::{Space, story, tidied};
pub use tools::Ran;

/// Where the chart is installed.
pub const OPERATOR_NAMESPACE: &str = "birbnest-system";
