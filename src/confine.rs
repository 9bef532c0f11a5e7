//! What the process gives up, so that whoever talks it into something gets little: core dumps and debuggers from the
//! start, and before it serves, system calls and files that it never needs. Knows no request.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};
use tracing::{info, warn};

use crate::audit::Destination;
use crate::config::Config;

/// System calls that nothing in the program makes: into other processes, into the kernel, into other views of the files and
/// of the network, around this filter.
const NEVER: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
];

/// What `clone` makes threads with, and may not make: namespaces (clone(2)).
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Another program in its place. Only the `credential_process` of an AWS profile is one, for the broker's own identity.
const PROGRAMS: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// The rights of Landlock that are asked for; an older kernel gives fewer.
const RIGHTS: ABI = ABI::V3;

/// Keeps what the process holds from other processes of its user, and from the disk when it crashes. Before any secret is
/// read. One that is to be `replaced` by another program keeps its limits, since that one would have them too; being kept
/// from others ends with it.
///
/// # Errors
/// When the operating system refuses, which none does.
pub(crate) fn from_the_start(replaced: bool) -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if !replaced {
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    Ok(())
}

/// What was given up, for the log, which starts after it: the thread that writes the log is confined too.
#[must_use]
pub(crate) struct Confined {
    files: Result<&'static str, String>,
    calls: Result<&'static str, String>,
}

/// Gives up what a broker with `config` never needs. Before the log and the runtime start their threads: files are given up
/// by the calling thread and those that it starts. A kernel that has less to offer is no reason to stop.
pub(crate) fn to_serve(config: &Config) -> Confined {
    let files = match outsiders(config) {
        true => Ok("all: a credential_process may write anywhere"),
        false => files(&places(config)).map(|status| match status {
            RulesetStatus::FullyEnforced => "own",
            RulesetStatus::PartiallyEnforced => "own, as far as the kernel knows",
            RulesetStatus::NotEnforced => "all: the kernel has no Landlock",
        }),
    };
    Confined { files, calls: calls(outsiders(config)).map(|()| "few") }
}

impl Confined {
    /// Tells the log.
    pub(crate) fn tell(self) {
        let told = |done: Result<&'static str, String>, what: &str| {
            done.unwrap_or_else(|error| {
                warn!(error, "{what} cannot be restricted");
                "all"
            })
        };
        let (files, calls) = (told(self.files, "writing to files"), told(self.calls, "system calls"));
        info!(files, calls, "confined");
    }
}

/// Whether a program that is not ours may have to run.
fn outsiders(config: &Config) -> bool {
    config.upstream.own_identity
}

/// The directories that the broker writes to. All of them are fixed at the start: other ones need a restart.
fn places(config: &Config) -> BTreeSet<PathBuf> {
    let audit = config.audit.as_ref().and_then(|audit| match &audit.destination {
        Destination::File(path) => Some(beside(path)),
        Destination::Stdout => None,
    });
    let socket = config.server.grpc_uds.as_deref().map(beside);
    let sessions = config.broker.configured_sessions.iter();
    // A token that is a link is replaced where it leads to.
    let tokens = sessions
        .map(|session| session.refresh_token.path())
        .map(|path| beside(&path.canonicalize().unwrap_or(path.to_owned())));
    config.state.iter().cloned().chain(audit).chain(socket).chain(tokens).collect()
}

fn beside(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// From now on nothing is written, made or removed but in `places`. What is open stays so.
fn files(places: &BTreeSet<PathBuf>) -> Result<RulesetStatus, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let writing = AccessFs::from_write(RIGHTS);
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(writing);
    let mut rules = rules.and_then(Ruleset::create).map_err(|error| told(&error))?;
    for place in places {
        // One that is not there is told by whoever needs it.
        let Ok(place) = PathFd::new(place) else { continue };
        rules = rules.add_rule(PathBeneath::new(place, writing)).map_err(|error| told(&error))?;
    }
    // Everybody may throw away.
    if let Ok(null) = PathFd::new("/dev/null") {
        rules = rules.add_rule(PathBeneath::new(null, AccessFs::WriteFile)).map_err(|error| told(&error))?;
    }
    rules.restrict_self().map(|status| status.ruleset).map_err(|error| told(&error))
}

/// From now on no thread makes one of the calls; with `programs` it may still start other programs.
fn calls(programs: bool) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let refused = NEVER.iter().chain(PROGRAMS.iter().filter(|_| !programs));
    let mut rules: BTreeMap<_, _> = refused.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, apart().map_err(|error| told(&error))?);
    refuse(rules, libc::EPERM)?;
    // Its flags are in memory, where no filter sees them; the C library then makes threads by `clone`.
    refuse(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

/// A `clone` that makes any namespace. The flags are the first argument on both architectures (clone(2)).
fn apart() -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |flag: libc::c_int| {
        let flag = u64::from(flag.unsigned_abs());
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![condition])
    };
    NAMESPACES.into_iter().map(rule).collect()
}

fn refuse(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<(), String> {
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch);
    let program = filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// Each of the calls, by number, with arguments that none of them takes: what it answers, by number.
    const TRY: &str = "import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n\
        for call in map(int, sys.argv[1:]):\n    ctypes.set_errno(0); libc.syscall(call, -1, -1, -1, -1, -1)\n    print(ctypes.get_errno())";

    /// Runs a test of this file in a process and a directory of its own, since what is given up is given up for good.
    fn alone(name: &str) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["own", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "--nocapture", name]).current_dir(dir.path());
        let done = command.output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&done.stderr));
    }

    #[test]
    fn what_is_given_up_is_refused() {
        for name in ["files_alone", "calls_alone", "programs_alone"] {
            alone(&format!("confine::tests::{name}"));
        }
    }

    #[test]
    #[ignore = "it is run by the one above, in a process of its own"]
    fn files_alone() {
        fs::write("other/before", "x").unwrap();
        let status = files(&BTreeSet::from(["own".into()])).unwrap();
        // Where the kernel has it, it holds.
        let holds = status != RulesetStatus::NotEnforced;
        fs::write("own/file", "x").unwrap();
        fs::write("/dev/null", "x").unwrap();
        assert_eq!(fs::read_to_string("other/before").unwrap(), "x", "reading is free");
        let refused = [
            fs::write("other/file", "x"),
            fs::write("other/before", "y"),
            fs::remove_file("other/before"),
            fs::create_dir("other/dir"),
            std::os::unix::fs::symlink("x", "other/link"),
        ];
        for (number, done) in refused.into_iter().enumerate() {
            let refused = done.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            assert_eq!(refused, holds, "{number} {status:?}");
        }
    }

    #[test]
    #[ignore = "it is run by the one above, in a process of its own"]
    fn calls_alone() {
        assert!(Command::new("true").status().unwrap().success());
        calls(false).unwrap();
        let error = Command::new("true").status().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        let error = std::os::unix::fs::chroot("/").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7, "threads are made as ever");
    }

    /// Where other programs may run, they cannot do either what the broker cannot.
    #[test]
    #[ignore = "it is run by the one above, in a process of its own"]
    fn programs_alone() {
        let answers = |calls: &[(libc::c_long, libc::c_int)]| -> Vec<libc::c_int> {
            let numbers = calls.iter().map(|(call, _)| call.to_string());
            let done = Command::new("python3").args(["-c", TRY]).args(numbers).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).lines().map(|line| line.parse().unwrap()).collect()
        };
        let never: Vec<_> = NEVER.iter().map(|call| (*call, libc::EPERM)).collect();
        let calls_and_answers: Vec<_> = never.into_iter().chain([(libc::SYS_clone3, libc::ENOSYS)]).collect();
        let refused = |answers: &[libc::c_int]| {
            calls_and_answers.iter().zip(answers).filter(|((_, refusal), answer)| refusal == *answer).count()
        };
        assert!(refused(&answers(&calls_and_answers)) < NEVER.len(), "without a filter they answer something else");
        calls(true).unwrap();
        let found = answers(&calls_and_answers);
        assert_eq!(refused(&found), calls_and_answers.len(), "{found:?}");
    }
}
