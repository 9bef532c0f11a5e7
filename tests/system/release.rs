//! What a release is made of: the program alone in an empty root directory, as the image has it, and the packages.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::names::{Mood, NAME, Resolver};
use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::proxy::{Backend, Proxy};
use crate::support::scene::{EMULATOR, token};
use crate::support::settings::Settings;
use crate::support::tls::Authority;
use crate::{MACHINE, tool};

/// Where `deploy/release/build.sh` has put a release; it is made at the first use, which takes minutes.
static RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    // What another commit left.
    std::fs::remove_dir_all(&place).ok();
    // Nobody measures anything beside a build.
    let _machine = MACHINE.blocking_lock();
    let started = Instant::now();
    // Not optimised, which is most of the time: how it is linked and packed is what is judged.
    let quick = ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    run(Command::new("deploy/release/build.sh").arg(&place).env(quick.0, quick.1));
    println!("a release takes {:.0} s", started.elapsed().as_secs_f64());
    place
});

/// What a command prints; it must succeed.
fn run(command: &mut Command) -> String {
    let done = tool(command.current_dir(env!("CARGO_MANIFEST_DIR")), "apt-get install dpkg-dev xz-utils binutils");
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
    told
}

/// The only file of a release with this end.
fn packed(end: &str) -> PathBuf {
    let files = std::fs::read_dir(&*RELEASE).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files.filter(|file| file.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// The program of the release, unpacked from its package.
fn program() -> PathBuf {
    static UNPACKED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let place = tempfile::tempdir().unwrap();
        run(Command::new("dpkg-deb").arg("-x").arg(packed(".deb")).arg(place.path()));
        place
    });
    UNPACKED.path().join("usr/bin/cupbearer")
}

#[test]
fn the_program_needs_no_library_and_no_loader() {
    let program = program();
    let headers = run(Command::new("readelf").args(["--wide", "--program-headers", "--dynamic"]).arg(&program));
    assert!(headers.contains("Dynamic section") && headers.contains("GNU_RELRO"), "{headers}");
    assert!(!headers.contains("INTERP") && !headers.contains("(NEEDED)"), "{headers}");
    let told = run(Command::new(program).arg("--version"));
    let version = run(&mut Command::new("deploy/release/version.sh"));
    assert_eq!(told, format!("cupbearer {version}"));
}

/// The image, as the Dockerfile's last stage lays it out: nothing but what it copies, nobody's to write.
fn image(authority: &Authority, resolver: &Resolver) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let text = include_str!("../../deploy/docker/Dockerfile").split("\nFROM scratch\n").nth(1).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY --from=build ")) {
        let (from, to) = line.split_once(' ').unwrap();
        let from = if from == "/out/cupbearer" { program() } else { authority.file() };
        let to = root.path().join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, &to).unwrap();
    }
    // Every engine mounts this one.
    let resolv = format!("nameserver {}\n", resolver.address.ip());
    std::fs::write(root.path().join("etc/resolv.conf"), resolv).unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    root
}

/// In `root`, as the image's user, without a variable.
fn within(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg("--userspec=65532:65532").arg(root).arg("/cupbearer").args(arguments).env_clear();
    command
}

/// Names are resolved, and certificates checked against the authorities that the image has, with nothing else in it.
#[tokio::test]
async fn it_serves_from_an_empty_root_directory_as_nobody() {
    let (authority, resolver) = (Authority::new(), Resolver::start());
    resolver.set(Mood::Says(std::net::Ipv4Addr::LOCALHOST));
    tokio::task::spawn_blocking(program).await.unwrap();
    let root = image(&authority, &resolver);
    let keys = crate::support::scene::embedded().await;
    let aws = Proxy::start_tls(Backend::Embedded(Arc::clone(&EMULATOR)), authority.server(NAME)).await;
    let there = aws.url.replace("localhost", NAME);
    let text = Settings { jwks: Settings::new(&keys.url).jwks, ..Settings::new(&there) }.text();
    let prefix = root.path().to_str().unwrap().to_owned();
    let start = |arguments: &[&str]| {
        let inside: Vec<_> = arguments.iter().map(|text| text.strip_prefix(&prefix).unwrap_or(text)).collect();
        within(root.path(), &inside)
    };
    let mut daemon = Daemon::serve_by(root.path(), &text, start).await;
    daemon.ready().await;
    let (door, admin) = (daemon.address("http").await, daemon.address("admin").await);
    let reply = http::credentials(door, "/v1/credentials", &token("alice")).await;
    assert_eq!(reply.status, 200, "{}", daemon.log());
    assert_eq!(aws.calls("GetId"), 1, "over TLS, by name");

    let asked = ["wait", "--timeout", "2s", "--endpoint", &format!("http://{admin}")];
    run(&mut within(root.path(), &asked));
    daemon.terminate();
    assert!(daemon.ended().await.success(), "{}", daemon.log());
    let missed = within(root.path(), &asked).output().unwrap();
    assert_eq!(missed.status.code(), Some(1), "HEALTHCHECK fails without a broker");
}

#[test]
fn the_package_has_what_a_debian_package_has() {
    let deb = packed(".deb");
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    for file in [
        "./usr/bin/cupbearer",
        "./usr/lib/systemd/system/cupbearer.service",
        "./usr/lib/sysusers.d/cupbearer.conf",
        "./usr/share/bash-completion/completions/cupbearer",
        "./usr/share/doc/cupbearer/copyright",
        "./usr/share/doc/cupbearer/examples/cupbearer.toml",
        "./usr/share/man/man1/cupbearer.1.gz",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(file)), "{file} is not in\n{listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    // Scripts that debhelper did not write call systemctl themselves; a static program asks for no library.
    let known = "maintainer-script-calls-systemctl,shared-library-lacks-prerequisites";
    let mut lintian = Command::new("lintian");
    run(lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", known]).arg(&deb));
}

#[test]
fn the_checksums_are_those_of_the_tarball_and_the_package() {
    let sums = std::fs::read_to_string(packed("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    let done = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&*RELEASE).output();
    assert!(done.unwrap().status.success(), "{sums}");
    let listed = run(Command::new("tar").arg("--list").arg("--file").arg(packed(".tar.xz")));
    for file in ["/cupbearer", "/LICENSE", "/cupbearer.toml", "/systemd/cupbearer.service", "/man/cupbearer.1"] {
        assert!(listed.lines().any(|line| line.ends_with(file)), "{file} is not in\n{listed}");
    }
}

/// What would be published is what builds: sources, the interface, the licence.
#[test]
fn cargo_packs_what_a_build_needs() {
    let place = tempfile::tempdir().unwrap();
    let arguments = ["package", "--no-verify", "--allow-dirty", "--offline", "--quiet", "--target-dir"];
    run(Command::new(env!("CARGO")).args(arguments).arg(place.path()));
    let version = env!("CARGO_PKG_VERSION");
    let packed = place.path().join(format!("package/cupbearer-{version}.crate"));
    let listed = run(Command::new("tar").args(["--list", "--gzip", "--file"]).arg(packed));
    for file in ["Cargo.lock", "LICENSE", "README.md", "build.rs", "proto/cupbearer/v1/broker.proto", "src/main.rs"] {
        assert!(listed.lines().any(|line| line == format!("cupbearer-{version}/{file}")), "{file} is not in\n{listed}");
    }
    assert!(!listed.contains("/target/") && !listed.contains("/dist/"), "{listed}");
}
