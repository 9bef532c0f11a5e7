//! The program, as its user starts it: a process with a log, addresses that it chose itself, signals, an exit code.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything of the program may take before the test gives up; a bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where a program that was built with `-C instrument-coverage` puts what it counts.
const COVERAGE: &str = "LLVM_PROFILE_FILE";

/// A running `cupbearer`; it is killed when dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    out: Arc<Mutex<String>>,
    /// Whether nobody reads the log, and whether nobody reads stdout.
    blocked: [Arc<AtomicBool>; 2],
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts the program with `arguments` and a clean environment plus `variables`.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(command(arguments, variables))
    }

    /// Starts the program as `command` does.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let out = Arc::new(Mutex::new(String::new()));
        let blocked = <[Arc<AtomicBool>; 2]>::default();
        let [pause, pause_out] = blocked.clone();
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let read_log = move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
                wait_while(&pause);
            }
        };
        let (mut stdout, text) = (child.stdout.take().unwrap(), Arc::clone(&out));
        let read_out = move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
                wait_while(&pause_out);
            }
        };
        Self { child, log, out, blocked, readers: vec![std::thread::spawn(read_log), std::thread::spawn(read_out)] }
    }

    /// `cupbearer serve` with `config`, up and ready.
    pub async fn serve(dir: &Path, config: &str) -> Self {
        let daemon = Self::serve_unready(dir, config, &[]).await;
        daemon.ready().await;
        daemon
    }

    /// `cupbearer serve` with `config`, bound but perhaps not ready.
    pub async fn serve_unready(dir: &Path, config: &str, variables: &[(&str, &str)]) -> Self {
        Self::serve_by(dir, config, |arguments| command(arguments, variables)).await
    }

    /// `cupbearer serve` with `config`, started by what `start` makes of its arguments; bound but perhaps not ready.
    pub async fn serve_by(dir: &Path, config: &str, start: impl FnOnce(&[&str]) -> Command) -> Self {
        let file = dir.join("cupbearer.toml");
        std::fs::write(&file, config).unwrap();
        let daemon = Self::spawn(start(&["serve", "--config", file.to_str().unwrap(), "--log-format", "json"]));
        daemon.address("admin").await;
        daemon
    }

    /// The address that the program logged for `listener`.
    pub async fn address(&self, listener: &str) -> SocketAddr {
        let found = self.wait_for(|daemon| daemon.logged_address(listener)).await;
        found.unwrap_or_else(|| panic!("{listener} was not bound:\n{}", self.log()))
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        let admin = self.address("admin").await;
        let started = tokio::time::Instant::now();
        while super::http::get(admin, "/readyz", &[]).await.status != 200 {
            assert!(started.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many lines that is.
    pub fn log_lines(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Everything on stdout so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits until `found` finds something, for as long as patience lasts.
    pub async fn wait_for<T>(&self, found: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(found) = found(self) {
                return Some(found);
            }
            if started.elapsed() > PATIENCE {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From now on nobody reads the log, or somebody does again: what is in the pipe stays there.
    pub fn block_log(&self, blocked: bool) {
        self.blocked[0].store(blocked, Ordering::Relaxed);
    }

    /// The same for stdout.
    pub fn block_out(&self, blocked: bool) {
        self.blocked[1].store(blocked, Ordering::Relaxed);
    }

    /// What the system says of the process's memory, in KiB: a line of `/proc/PID/status`.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        found.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor's time that the process has used.
    pub fn cpu_time(&self) -> Duration {
        let line = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, which may hold anything, is the second field; utime and stime are the 14th and the 15th (proc(5)).
        let fields: Vec<_> = line[line.rfind(')').unwrap()..].split(' ').collect();
        let ticks = [fields[12], fields[13]].map(|field| field.parse::<u64>().unwrap());
        // A tick is 10 ms in what Linux shows to programs, on whatever machine.
        Duration::from_millis((ticks[0] + ticks[1]) * 10)
    }

    /// Waits for the end, and then for the last of the log.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = self.exited().await;
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        status
    }

    /// Waits for the end alone.
    pub async fn exited(&mut self) -> ExitStatus {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it did not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn logged_address(&self, listener: &str) -> Option<SocketAddr> {
        let log = self.log.lock().unwrap();
        let for_people = format!("listening listener=\"{listener}\" address=");
        log.iter().find_map(|line| match serde_json::from_str::<Value>(line) {
            Ok(line) if line["message"] == "listening" && line["listener"] == listener => {
                line["address"].as_str()?.parse().ok()
            }
            Ok(_) => None,
            Err(_) => line.split_once(&for_people)?.1.split(' ').next()?.parse().ok(),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Or the readers would stay.
        self.blocked.iter().for_each(|blocked| blocked.store(false, Ordering::Relaxed));
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn wait_while(blocked: &AtomicBool) {
    while blocked.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program with a clean environment, so that nothing of the machine reaches it: this build, or for figures the one that
/// `CUPBEARER_BINARY` names.
pub fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let own = std::env::var_os("CUPBEARER_BINARY");
    let mut command = Command::new(own.unwrap_or_else(|| env!("CARGO_BIN_EXE_cupbearer").into()));
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    // Where the lines that are run are counted, the program's are.
    command.envs(std::env::var_os(COVERAGE).map(|file| (COVERAGE, file)));
    command
}
