//! gRPC over a Unix socket: who may ask, and whose file it is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest, GetCredentialsResponse};
use rustix::process::{Signal, getgid, getuid};
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::attacks::Ground;
use crate::support::daemon::Daemon;
use crate::support::line::Line;
use crate::support::scene::{Scene, token};
use crate::support::settings::Settings;

/// A directory as a deployment would make it, and the socket's path in it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("grpc.sock");
    (dir, socket)
}

fn server(socket: &Path, more: &str) -> String {
    format!("grpc_uds = {socket:?}\n{more}\n---[audit]\nfile = \"stdout\"\n")
}

/// One `GetCredentials` over the socket.
async fn ask(socket: &Path, token: &str) -> Result<GetCredentialsResponse, Status> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    let mut client = CredentialBrokerClient::new(endpoint.connect().await.unwrap());
    let mut request = Request::new(GetCredentialsRequest::default());
    request.metadata_mut().insert("authorization", MetadataValue::try_from(token).unwrap());
    client.get_credentials(request).await.map(tonic::Response::into_inner)
}

/// What the program told before it gave up, with its exit code.
async fn refused(dir: &Path, socket: &Path) -> (Option<i32>, String) {
    let file = dir.join("cupbearer.toml");
    fs::write(&file, Settings { more: &server(socket, ""), ..Settings::new("http://127.0.0.1:9") }.text()).unwrap();
    let mut daemon = Daemon::start(&["serve", "--config", file.to_str().unwrap(), "--log-format", "json"], &[]);
    (daemon.ended().await.code(), daemon.log())
}

#[tokio::test]
async fn the_brokers_own_user_is_served_and_named_in_the_audit_log() {
    let (_dir, socket) = place();
    let mut ground = Ground::of(Scene::with(&server(&socket, ""), "authenticated_role").await).await;
    let scene = &ground.scene;
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let held = ask(&socket, &token("alice")).await.unwrap().credentials.unwrap();
    let over_http = scene.ask("/v1/credentials", &token("alice")).await.json();
    assert_eq!(over_http["AccessKeyId"], held.access_key_id, "both doors open to one cache");
    assert_eq!(ask(&socket, "garbage").await.unwrap_err().code(), Code::Unauthenticated);
    for (outcome, count) in [("ok", 1.0), ("unauthorized", 1.0)] {
        let series = format!("cupbearer_requests_total{{listener=\"grpc_uds\",outcome=\"{outcome}\"}}");
        assert_eq!(scene.metric(&series).await, count, "{outcome}");
    }
    ground.after("A54", 2).await;
    let scene = &mut ground.scene;
    scene.daemon.terminate();
    assert!(scene.daemon.ended().await.success());
    assert!(!socket.exists(), "the file is gone at the end");
    let peer = format!("\"listener\":\"grpc_uds\",\"peer\":\"uid:{}\"", getuid().as_raw());
    assert!(scene.daemon.out().contains(&peer), "{}", scene.daemon.out());
}

/// Whoever reaches loopback can take all places that there are for everybody; the socket has its own.
#[tokio::test]
async fn a_full_house_has_room_for_the_socket() {
    let (_dir, socket) = place();
    let more = format!("grpc_uds = {socket:?}\n---[limits]\nconnections = 3\n");
    let scene = Scene::with(&more, "authenticated_role").await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    let mut lines = Vec::new();
    for _ in 0..3 {
        let mut line = Line::open(scene.http).await.unwrap();
        assert_eq!(line.ask("/v1/credentials", &token("alice")).await.unwrap().status, 200);
        lines.push(line);
    }
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 503, "the house is full");
    for _ in 0..3 {
        assert!(ask(&socket, &token("alice")).await.is_ok());
    }
    assert_eq!(lines[0].ask("/v1/credentials", &token("alice")).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_is_not_listed_is_refused_until_a_reload_lists_them() {
    let (_dir, socket) = place();
    let nobody = format!("grpc_uds_allow_uids = [{}]", getuid().as_raw() + 1);
    let mut ground = Ground::of(Scene::with(&server(&socket, &nobody), "authenticated_role").await).await;
    let refusal = ask(&socket, &token("alice")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    let refusals = "cupbearer_requests_total{listener=\"grpc_uds\",outcome=\"forbidden\"}";
    assert_eq!(ground.scene.metric(refusals).await, 1.0);
    ground.after("A53", 1).await;
    let scene = &ground.scene;

    let file = scene.path("cupbearer.toml");
    let group = format!("{nobody}\ngrpc_uds_allow_gids = [{}]", getgid().as_raw());
    fs::write(&file, fs::read_to_string(&file).unwrap().replace(&nobody, &group)).unwrap();
    let reloaded = |daemon: &Daemon| daemon.log().contains("is in force").then_some(());
    scene.daemon.signal(Signal::HUP);
    scene.daemon.wait_for(reloaded).await.unwrap();
    assert!(ask(&socket, &token("alice")).await.is_ok(), "its group is listed now");
}

#[tokio::test]
async fn a_dead_brokers_socket_is_taken_over_and_a_living_ones_is_not() {
    let (dir, socket) = place();
    let mut first = Scene::with(&server(&socket, ""), "authenticated_role").await;
    let (code, told) = refused(dir.path(), &socket).await;
    assert_eq!(code, Some(3));
    assert!(told.contains("grpc_uds") && told.contains("another broker has it"), "{told}");
    assert!(ask(&socket, &token("alice")).await.is_ok(), "the first one serves on");
    first.daemon.signal(Signal::KILL);
    first.daemon.ended().await;
    assert!(socket.exists(), "nobody was left to remove it");
    let _second = Scene::with(&server(&socket, ""), "authenticated_role").await;
    assert!(ask(&socket, &token("alice")).await.is_ok(), "the second one serves");
}

#[tokio::test]
async fn of_brokers_that_start_at_once_one_has_the_socket() {
    let (dir, socket) = place();
    // As a dead broker leaves it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let file = dir.path().join("cupbearer.toml");
    fs::write(&file, Settings { more: &server(&socket, ""), ..Settings::new("http://127.0.0.1:9") }.text()).unwrap();
    let arguments = ["serve", "--config", file.to_str().unwrap(), "--log-format", "json"];
    let brokers: Vec<_> = (0..4).map(|_| Daemon::start(&arguments, &[])).collect();
    let mut winners = 0;
    for broker in &brokers {
        let has_it = |daemon: &Daemon| match daemon.log() {
            log if log.contains("another broker has it") => Some(0),
            log if log.contains("\"listener\":\"grpc_uds\"") => Some(1),
            _ => None,
        };
        winners += broker.wait_for(has_it).await.unwrap_or_else(|| panic!("{}", broker.log()));
    }
    assert_eq!(winners, 1);
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
}

#[tokio::test]
async fn a_place_that_is_not_safe_is_refused() {
    let (dir, socket) = place();
    let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    let told = async |socket: &Path, what: &str| {
        let config = tempfile::tempdir().unwrap();
        let (code, told) = refused(config.path(), socket).await;
        assert_eq!(code, Some(3), "{what}: {told}");
        assert!(told.contains("grpc_uds") && told.contains(what), "{what}: {told}");
    };
    for open in [0o770, 0o702, 0o777] {
        mode(open);
        told(&socket, "chmod go-w").await;
    }
    mode(0o755);
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    told(&link.join("grpc.sock"), "symbolic link").await;
    told(&dir.path().join("nowhere/grpc.sock"), "its directory cannot be looked at").await;
    fs::write(&socket, "precious").unwrap();
    told(&socket, "no socket").await;
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();
    told(&dir.path().join("x".repeat(120)), "cannot bind").await;
    if getuid().is_root() {
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        chown(&other, Some(1), None).unwrap();
        told(&other.join("grpc.sock"), "neither the broker's nor root's").await;
        let below = other.join("below");
        fs::create_dir(&below).unwrap();
        told(&below.join("grpc.sock"), "a directory above it, is neither the broker's nor root's").await;
    }
    let below = dir.path().join("open/below");
    fs::create_dir_all(&below).unwrap();
    fs::set_permissions(below.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    told(&below.join("grpc.sock"), "a directory above it, can be written by its group or by others").await;
    // In a sticky one nobody replaces what is another's.
    fs::set_permissions(below.parent().unwrap(), fs::Permissions::from_mode(0o1777)).unwrap();
    let scene = Scene::with(&server(&below.join("grpc.sock"), ""), "authenticated_role").await;
    assert!(ask(&below.join("grpc.sock"), &token("alice")).await.is_ok(), "{}", scene.daemon.log());
}
