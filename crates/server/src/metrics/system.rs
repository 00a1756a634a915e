//! The machine's figures as TorchServe's collector reports them: processor, memory and the disk of `/`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::names::{
    CPU_UTILIZATION, DISK_AVAILABLE, DISK_USAGE, DISK_UTILIZATION, Family, MEMORY_AVAILABLE,
    MEMORY_USED, MEMORY_UTILIZATION, triton,
};

const BYTES_IN_KILOBYTE: f64 = 1024.0;
const KILOBYTES_IN_MEGABYTE: f64 = 1024.0;
const BYTES_IN_GIGABYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// Reads the machine's figures, at most once an interval.
#[derive(Debug)]
pub(crate) struct System {
    interval: Duration,
    last: Option<Instant>,
    /// The processors' time until the last reading.
    processors: Time,
    figures: Vec<(&'static Family, f64)>,
}

/// What the processors did since the machine was started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Time {
    busy: u64,
    total: u64,
}

impl System {
    /// The processors' load is first told for the time from here on.
    pub(crate) fn new(interval: Duration) -> Self {
        let processors = processors().unwrap_or_default();
        Self { interval, last: None, processors, figures: Vec::new() }
    }

    /// The figures, read again where they are older than the interval.
    pub(crate) fn figures(&mut self, now: Instant) -> &[(&'static Family, f64)] {
        let fresh = self.last.is_some_and(|last| now.duration_since(last) < self.interval);
        if !fresh {
            self.last = Some(now);
            self.figures.clear();
            for read in [self.processor(), memory(), disk()] {
                match read {
                    Ok(read) => self.figures.extend(read),
                    Err(error) => log::warn!("a figure of the system is not read: {error:#}"),
                }
            }
        }
        &self.figures
    }

    fn processor(&mut self) -> Result<Vec<(&'static Family, f64)>> {
        let now = processors()?;
        let before = std::mem::replace(&mut self.processors, now);
        let percent = utilization(before, now);
        Ok(vec![(&CPU_UTILIZATION, percent), (&triton::CPU_UTILIZATION, percent / 100.0)])
    }
}

/// Percent of the time in between that the processors were busy; 0 where there was none.
fn utilization(before: Time, now: Time) -> f64 {
    percent(now.busy.saturating_sub(before.busy), now.total.saturating_sub(before.total))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no 53 bits")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

fn processors() -> Result<Time> {
    let path = "/proc/stat";
    let text = std::fs::read_to_string(path).context(path)?;
    time(&text).with_context(|| format!("{path} has no line \"cpu\" that can be read"))
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What follows is
/// counted in these already.
fn time(stat: &str) -> Option<Time> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Option<Vec<u64>> =
        line.split_whitespace().take(8).map(|word| word.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() == 8)?;
    let total = ticks.iter().sum();
    Some(Time { busy: total - ticks[3] - ticks[4], total })
}

fn memory() -> Result<Vec<(&'static Family, f64)>> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).context(path)?;
    let line = |name| kilobytes(&text, name).with_context(|| format!("{path} has no {name}"));
    let (total, available) = (line("MemTotal")?, line("MemAvailable")?);
    let used = total.saturating_sub(available);
    Ok(vec![
        (&MEMORY_UTILIZATION, percent(used, total)),
        (&MEMORY_USED, scaled(used, KILOBYTES_IN_MEGABYTE)),
        (&MEMORY_AVAILABLE, scaled(available, KILOBYTES_IN_MEGABYTE)),
        (&triton::CPU_MEMORY_TOTAL, scaled(total, BYTES_IN_KILOBYTE.recip())),
        (&triton::CPU_MEMORY_USED, scaled(used, BYTES_IN_KILOBYTE.recip())),
    ])
}

/// A line of `/proc/meminfo`: `MemTotal:       16384 kB`.
fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().strip_suffix(" kB")?.parse().ok()
}

fn disk() -> Result<Vec<(&'static Family, f64)>> {
    let disk = rustix::fs::statvfs("/").context("cannot read the disk's size")?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    // What only root may fill counts for nobody, as in psutil and df.
    Ok(vec![
        (&DISK_UTILIZATION, percent(used, used + disk.f_bavail)),
        (&DISK_USAGE, scaled(used * disk.f_frsize, BYTES_IN_GIGABYTE)),
        (&DISK_AVAILABLE, scaled(disk.f_bavail * disk.f_frsize, BYTES_IN_GIGABYTE)),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts the last bytes of eight petabytes")]
fn scaled(value: u64, unit: f64) -> f64 {
    value as f64 / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_busy_when_they_neither_idle_nor_wait() {
        let stat = "cpu  100 20 30 400 50 1 2 3 999 999\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n";
        assert_eq!(time(stat), Some(Time { busy: 156, total: 606 }));
        assert_eq!(time("cpu0 1 1 1 1 1 1 1 1\n"), None);
        assert_eq!(time("cpu  1 2 x 4 5 6 7 8\n"), None);
        let before = Time { busy: 100, total: 600 };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(utilization(before, Time { busy: 150, total: 800 }), 25.0));
        assert!(close(utilization(before, before), 0.0));
        // Counters of some containers go back; that is no load.
        assert!(close(utilization(before, Time::default()), 0.0));
    }

    #[test]
    fn memory_is_read_by_its_whole_name() {
        let text = "MemTotalX:  1 kB\nMemTotal:       16384 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(kilobytes(text, "MemTotal"), Some(16384));
        assert_eq!(kilobytes(text, "MemAvailable"), Some(8192));
        assert_eq!(kilobytes(text, "MemFree"), None);
    }

    #[test]
    fn every_figure_of_this_machine_is_read_and_makes_sense() {
        let mut system = System::new(Duration::from_mins(1));
        let now = Instant::now();
        let figures = system.figures(now).to_vec();
        let names: Vec<&str> = figures.iter().map(|(family, _)| family.name).collect();
        let mut all: Vec<&str> =
            super::super::names::SYSTEM.iter().map(|family| family.name).collect();
        let mut names = names;
        all.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, all);
        for (family, value) in &figures {
            let most = match family.unit {
                "Percent" => 100.0,
                "Share" => 1.0,
                _ => f64::MAX,
            };
            assert!((0.0..=most).contains(value), "{} {value}", family.name);
        }
    }

    #[test]
    fn they_are_read_once_an_interval() {
        let mut system = System::new(Duration::from_mins(1));
        let now = Instant::now();
        system.figures(now);
        system.figures.clear();
        assert_eq!(system.figures(now + Duration::from_secs(59)).len(), 0);
        assert_eq!(system.figures(now + Duration::from_mins(1)).len(), 10);
    }
}
