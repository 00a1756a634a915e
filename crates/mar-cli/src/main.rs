//! The `mar` command: packs, shows, unpacks, checks and compares model archives.
//!
//! Archives are the library `mar`'s; what an archive's handler makes of an image is told by the handlers.

mod cli;
mod describe;
mod diff;
mod graph;
mod inspect;
mod limits;
mod networks;
mod optimize;
mod pack;
mod progress;
mod samples;
mod show;
mod unpack;
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
