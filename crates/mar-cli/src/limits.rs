//! The flags that bound what an archive may hold, which every command that opens one takes.

use clap::Args;
use mar::Limits;

/// How much an archive may hold before it is refused
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "clap makes the flags' names of them")]
pub(crate) struct LimitArgs {
    /// Most files and folders in an archive
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_entries)]
    max_entries: usize,
    /// Most bytes that all files may have together, unpacked
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_total_bytes)]
    max_total_bytes: u64,
    /// Most unpacked bytes per byte of archive, beyond the first 64 MiB
    #[arg(long, value_name = "RATIO", default_value_t = Limits::default().max_ratio)]
    max_ratio: u64,
}

impl From<&LimitArgs> for Limits {
    fn from(args: &LimitArgs) -> Self {
        Self {
            max_entries: args.max_entries,
            max_total_bytes: args.max_total_bytes,
            max_ratio: args.max_ratio,
        }
    }
}
