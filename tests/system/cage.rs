//! Control groups: what a container's limits are to the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A control group with a limit, of whichever version the machine has; it is gone with the test.
pub struct Cage {
    path: PathBuf,
    v2: bool,
}

impl Cage {
    /// So many bytes, and no swap.
    pub fn of_memory(bytes: usize) -> Self {
        let cage = Self::new("memory");
        cage.write(if cage.v2 { "memory.max" } else { "memory.limit_in_bytes" }, &bytes.to_string());
        let (swap, none) = if cage.v2 { ("memory.swap.max", "0") } else { ("memory.swappiness", "0") };
        cage.write(swap, none);
        cage
    }

    /// So many hundredths of a processor's time.
    pub fn of_cpu(percent: usize) -> Self {
        let cage = Self::new("cpu");
        let quota = percent * 1_000;
        if cage.v2 {
            cage.write("cpu.max", &format!("{quota} 100000"));
        } else {
            cage.write("cpu.cfs_period_us", "100000");
            cage.write("cpu.cfs_quota_us", &quota.to_string());
        }
        cage
    }

    fn new(controller: &str) -> Self {
        let v1 = Path::new("/sys/fs/cgroup").join(controller);
        let v2 = !v1.join("cgroup.procs").exists();
        let root = if v2 { Path::new("/sys/fs/cgroup") } else { &v1 };
        let cage = Self { path: root.join(format!("cupbearer-{controller}-{}", std::process::id())), v2 };
        if v2 {
            // Already there, as a rule.
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).ok();
        }
        let hint = format!(
            "control groups with a {controller} controller must be mounted at /sys/fs/cgroup, and the test be root"
        );
        fs::create_dir(&cage.path).unwrap_or_else(|error| panic!("{}: {error}; {hint}", cage.path.display()));
        cage
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path.join(name);
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// The program, in the cage from its first page on.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        command.arg("-c").arg(script).arg(self.path.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_cupbearer"));
        command.args(arguments).env_clear();
        command
    }

    /// How often the kernel killed somebody in the cage.
    pub fn kills(&self) -> u64 {
        let events = self.read(if self.v2 { "memory.events" } else { "memory.oom_control" });
        let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("the kernel counts its kills").trim().parse().unwrap()
    }

    /// The most memory that was ever used, page cache included, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let name = if self.v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        self.read(name).trim().parse::<u64>().unwrap() >> 20
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
