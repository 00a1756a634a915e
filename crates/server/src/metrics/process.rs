//! The server's own process, under the names that Prometheus' client libraries use.

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};

use super::names::{
    Family, PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT, PROCESS_START,
    PROCESS_THREADS, PROCESS_VIRTUAL,
};

/// What `/proc/self/stat` tells, in the kernel's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the machine was started.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// The process as it is now.
///
/// # Errors
/// Where `/proc` is not there.
pub(crate) fn figures() -> Result<Vec<(&'static Family, f64)>> {
    let stat = read("/proc/self/stat")?;
    let stat = parse(&stat).context("/proc/self/stat is not as expected")?;
    let booted = booted(&read("/proc/stat")?).context("/proc/stat has no line \"btime\"")?;
    let ticks = |ticks: u64| float(ticks) / float(rustix::param::clock_ticks_per_second());
    let page = rustix::param::page_size() as u64;
    // Reading the folder opens one more.
    let open = std::fs::read_dir("/proc/self/fd").context("/proc/self/fd")?.count() as u64;
    let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, float);
    Ok(vec![
        (&PROCESS_CPU, ticks(stat.cpu_ticks)),
        (&PROCESS_RESIDENT, float(stat.resident_pages * page)),
        (&PROCESS_VIRTUAL, float(stat.virtual_bytes)),
        (&PROCESS_THREADS, float(stat.threads)),
        (&PROCESS_OPEN_FDS, float(open.saturating_sub(1))),
        (&PROCESS_MAX_FDS, most),
        (&PROCESS_START, float(booted) + ticks(stat.start_ticks)),
    ])
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts the last bytes of eight petabytes")]
fn float(value: u64) -> f64 {
    value as f64
}

/// When the machine was started, in seconds since 1970.
fn booted(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The fields are numbered in `man proc_pid_stat`, from 1; the second, the name, may hold spaces and
/// brackets.
fn parse(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let rest: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| rest.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 14 15 0 0 20 0 20 0 22 23 24 25";
        assert_eq!(
            parse(stat),
            Some(Stat {
                cpu_ticks: 29,
                threads: 20,
                start_ticks: 22,
                virtual_bytes: 23,
                resident_pages: 24
            })
        );
        assert_eq!(parse("7 (a) S 1 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_was_started_lately_and_has_memory_and_files() {
        let figures = figures().unwrap();
        let value = |name: &str| figures.iter().find(|(f, _)| f.name == name).unwrap().1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        // The machine's start is known to a second.
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
