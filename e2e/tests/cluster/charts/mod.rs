//! The charts over their life: a wrong value is refused with a sentence, and what is upgraded keeps what is there.

mod definition;
mod upgrade;
mod values;

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");
