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
    build(Path::new(env!("CARGO_MANIFEST_DIR")), &place);
    place
});

/// Makes a release of the sources at `root`, and says what was told on the way. What does not differ between two places is
/// built once.
fn build(root: &Path, place: &Path) -> String {
    let started = Instant::now();
    let mut command = Command::new(root.join("deploy/release/build.sh"));
    command.arg(place).env("CARGO_TARGET_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
    // Not optimised and hardly compressed, which is most of the time: how it is linked and packed is what is judged.
    let told = run(command
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("COMPRESSION", "1"));
    println!("a release takes {:.0} s", started.elapsed().as_secs_f64());
    told
}

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

/// What is ours is compiled, linked and packed anew, from a copy elsewhere, later.
#[test]
fn two_builds_in_two_places_are_the_same_bytes() {
    let first = std::fs::read(packed("SHA256SUMS")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (root, place) = (other.path().join("in/another/place"), other.path().join("out"));
    std::fs::create_dir_all(&root).unwrap();
    // As if written now, so that nothing is taken for what was built before.
    let copy = "tar --create --exclude=./target --exclude=./dist . | tar --extract --touch --directory \"$0\"";
    run(Command::new("sh").args(["-c", copy]).arg(&root));
    let _machine = MACHINE.blocking_lock();
    let told = build(&root, &place);
    assert!(told.contains("Compiling cupbearer "), "{told}");
    let second = std::fs::read(place.join("SHA256SUMS")).unwrap();
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    let program = std::fs::read(program()).unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), other.path().to_str().unwrap(), "/.cargo/"] {
        assert_eq!(memchr::memmem::find(&program, path.as_bytes()), None, "{path} is in the program");
    }
}

/// Over a copy of this system, with what a Debian system does to a package.
#[test]
fn the_package_is_installed_used_and_taken_away_again() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").arg("tests/system/install.sh").arg(packed(".deb")).arg(place.path());
    let told = run(&mut command);
    let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
    let version = run(&mut Command::new("deploy/release/version.sh"));
    for (name, wanted) in [
        ("status", "ii"),
        ("altered", ""),
        // The sample is none: what the administrator writes is never asked about, nor replaced.
        ("conffiles", ""),
        ("version", format!("cupbearer {}", version.trim()).as_str()),
        ("user", "/var/lib/cupbearer:/usr/sbin/nologin"),
        ("configuration", "root:cupbearer 750"),
        ("unit", "/usr/bin/cupbearer serve --config /etc/cupbearer/cupbearer.toml cupbearer cupbearer"),
        ("enabled", "disabled"),
        ("check", "as its user"),
        ("again", "root:cupbearer 640"),
        ("removed", "/etc/cupbearer/cupbearer.toml /var/lib/cupbearer"),
        ("purged", "unknown"),
    ] {
        assert_eq!(line(name), Some(wanted), "{name}: {told}");
    }
    let users = ["passwd", "group", "shadow", "gshadow", ".pwd.lock"];
    let is_of_users = |file: &str| users.contains(&file.trim_start_matches("./etc/").trim_end_matches('-'));
    let left: Vec<_> = line("left").unwrap().split(' ').filter(|file| !is_of_users(file)).collect();
    assert_eq!(left, [""; 0], "the user stays, and nothing else");
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
