//! The `mar` command; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mar::cli::main()
}
