//! The program with the least that a container or a service can give it: a user of its own, no capability, a root that it
//! cannot write to (A65); and what another process of that user learns from it, which is nothing (A55).

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;
use crate::tool;

/// That of the images which are called "nonroot".
const USER: u32 = 65_532;

/// All mounts of the process become read-only; then the state, the audit log and the socket get places of their own.
const CAGE: &str = r#"
dir=$1; shift
mount --bind "$dir" "$dir"
mount --bind "$0" "$dir/cupbearer"
mount -o remount,bind,ro /
exec setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$dir/cupbearer" "$@"
"#;

fn status(daemon: &Daemon) -> String {
    fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap()
}

fn line<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap().split_whitespace().collect()
}

/// Everything that is there, to be compared later.
fn owned(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            owned(&path);
        }
        chown(&path, Some(USER), Some(USER)).unwrap();
    }
    chown(dir, Some(USER), Some(USER)).unwrap();
}

#[tokio::test]
async fn it_serves_as_nobody_on_a_read_only_root_without_a_capability() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for name in ["state", "audit", "run"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("cupbearer"), "").unwrap();
    let proxy = embedded().await;
    let more = format!(
        "grpc_uds = {:?}\n---[state]\ndir = {:?}\n[audit]\nfile = {:?}\n",
        at("run/grpc.sock"),
        at("state"),
        at("audit/log")
    );
    let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
    let start = |arguments: &[&str]| {
        // The configuration moves to where the user can read it.
        let file = Path::new(arguments[2]);
        fs::copy(file, at("cupbearer.toml")).unwrap();
        owned(place.path());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", CAGE, env!("CARGO_BIN_EXE_cupbearer")]);
        command.arg(place.path()).args(["serve", "--config"]).arg(at("cupbearer.toml")).args(&arguments[3..]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command
    };
    let mut scene = Scene::started_by(proxy, &text, start).await;
    scene.daemon.ready().await;
    let (alice, bob) = (token("alice"), token("bob"));
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200, "{}", scene.daemon.log());
    assert!(crate::support::http::get(scene.admin, "/readyz", &[]).await.status == 200);

    let status = status(&scene.daemon);
    assert_eq!(line(&status, "Uid"), ["65532"; 4]);
    assert_eq!(line(&status, "Gid"), ["65532"; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(line(&status, set), ["0000000000000000"], "{set}");
    }
    assert_eq!((line(&status, "NoNewPrivs"), line(&status, "Seccomp")), (vec!["1"], vec!["2"]));
    assert!(scene.daemon.log().contains("\"files\":\"own\""), "{}", scene.daemon.log());

    // Another process of the same user learns nothing of it, and cannot stop at its code.
    let process = format!("/proc/{}", scene.daemon.pid());
    assert_eq!(fs::metadata(format!("{process}/mem")).unwrap().uid(), 0, "it is not its user's to look into");
    for file in ["mem", "environ", "maps", "fd", "auxv"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65532", "--regid", "65532", "--clear-groups", "--bounding-set=-all"]);
        command.args(["sh", "-c", "test -d \"$0\" && exec ls \"$0/\"; exec head -c 1 \"$0\""]);
        let done = tool(command.arg(format!("{process}/{file}")), "apt-get install util-linux");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && told.contains("Permission denied"), "{file}: {told}");
    }

    // What it writes it writes where it may, after a rotation and a reload too.
    fs::rename(at("audit/log"), at("audit/log.1")).unwrap();
    let file = fs::read_to_string(at("cupbearer.toml")).unwrap();
    fs::write(at("cupbearer.toml"), file.replace("drain_seconds = 0", "drain_seconds = 1")).unwrap();
    scene.daemon.signal(Signal::HUP);
    scene.daemon.wait_for(|daemon| daemon.log().contains("is in force").then_some(())).await.unwrap();
    assert_eq!(scene.ask("/v1/credentials", &bob).await.status, 200);
    scene.daemon.wait_for(|_| fs::read_to_string(at("audit/log")).ok().filter(|log| !log.is_empty())).await.unwrap();
    for lost in ["cupbearer_audit_dropped_total", "cupbearer_state_write_failures_total"] {
        assert_eq!(scene.metric(lost).await, 0.0, "{lost}");
    }
    assert!(scene.metric("process_open_fds").await > 0.0, "it sees itself");
    scene.daemon.terminate();
    assert!(scene.daemon.ended().await.success());
    assert!(!at("run/grpc.sock").exists() && at("audit/log.1").exists());
}

/// The unit that is shipped is as closed as the threat model says.
#[test]
fn the_unit_of_systemd_has_an_exposure_of_two_at_most() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd/cupbearer.service");
    let mut command = Command::new("systemd-analyze");
    let done = tool(command.args(["security", "--offline=true", "--no-pager", unit]), "apt-get install systemd");
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(!told.contains("ignoring"), "{told}");
    let overall = told.lines().find_map(|line| line.split_once("Overall exposure level for cupbearer.service: "));
    let exposure: f64 =
        overall.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    println!("A65: systemd-analyze security gives {exposure}");
    assert!(exposure <= 2.0, "{told}");
}
