//! The migrations are embedded by a macro, which cargo cannot see reading files.

fn main() {
    #[allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
    {
        println!("cargo:rerun-if-changed=../../migrations");
    }
}
