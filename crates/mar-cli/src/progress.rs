//! A progress bar for packing, where there is a terminal and something to wait for.

use indicatif::{ProgressBar, ProgressStyle};

/// Smaller inputs are packed before a bar could be read.
const WORTH_A_BAR: u64 = 100_000_000;

/// Draws on standard error, and only on a terminal. Dropped, it leaves nothing on the screen.
#[derive(Default)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn advance(&mut self, done: u64, total: u64) {
        if total <= WORTH_A_BAR {
            return;
        }
        self.0.get_or_insert_with(|| new(total)).set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn new(total: u64) -> ProgressBar {
    let template = "packing {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inputs_over_100_mb_get_a_bar() {
        let mut bar = Bar::default();
        bar.advance(50, 100_000_000);
        assert!(bar.0.is_none());
        bar.advance(50, 100_000_001);
        assert_eq!(bar.0.as_ref().map(ProgressBar::position), Some(50));
    }
}
