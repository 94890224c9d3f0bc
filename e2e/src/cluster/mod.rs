//! Stories on a real cluster, which has the operator installed: a namespace per story, nests in it, and backends that a
//! story can stop.

mod backends;
mod nest;
mod report;
mod space;

pub use backends::Backends;
pub use nest::{Child, Nest, condition_of};
pub use report::print_report;
pub use space::{Space, story};

/// Where the chart is installed.
pub const OPERATOR_NAMESPACE: &str = "birbnest-system";
