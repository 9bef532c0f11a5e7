//! CPU time as the kernel counts it, of a thread or of another process; and wall time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the thread that asks.
pub fn thread() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

/// CPU time of this process.
pub fn process() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// Time that passes.
pub fn wall() -> Duration {
    clock(ClockId::Monotonic)
}

/// CPU time of all threads of another process, in nanoseconds from the scheduler itself.
pub fn of(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
    let nanos = spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanos)
}

/// A line of `/proc/PID/status`, in KiB.
pub fn memory_kib(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    found.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}
