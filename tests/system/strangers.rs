//! The Unix socket and users of the machine who are somebody else (A53): the file keeps them out, and where it does not,
//! the kernel's word for who they are. Root becomes them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use crate::support::scene::{Scene, token};
use crate::tool;

/// A user that the program was not told of.
const STRANGER: &str = "65533";

/// What one who is `user` and of `group` hears at the socket.
fn heard(place: &Path, user: &str, group: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    command.arg(place.join("caller")).args(["--exact", "--ignored", "--nocapture", "strangers::asks_at_the_socket"]);
    command.env("SOCKET", place.join("run/grpc.sock")).env("TOKEN", token("alice")).current_dir("/");
    let done = tool(&mut command, "apt-get install util-linux, and be root");
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&done.stderr));
    told.lines().find_map(|line| line.split_once("HEARD ")).map(|(_, heard)| heard.to_owned()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_kept_out_by_the_file_and_by_the_kernel() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("run")).unwrap();
    for dir in [place.path(), &at("run")] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    fs::copy(std::env::current_exe().unwrap(), at("caller")).unwrap();
    let mut scene = Scene::with(&format!("grpc_uds = {:?}\n", at("run/grpc.sock")), "authenticated_role").await;
    let calls = scene.proxy.calls_to_aws();
    assert_eq!(heard(place.path(), STRANGER, STRANGER), "nothing: it cannot connect");
    assert_eq!(heard(place.path(), STRANGER, "0"), "PermissionDenied");
    assert_eq!(scene.proxy.calls_to_aws(), calls, "AWS was not asked");
    assert_eq!(heard(place.path(), "0", "0"), "Ok");
    scene.daemon.terminate();
    assert!(scene.daemon.ended().await.success());

    // Listed, they may: it was the list, and nothing else.
    let more = format!("grpc_uds = {:?}\ngrpc_uds_allow_uids = [{STRANGER}]\n", at("run/grpc.sock"));
    let _scene = Scene::with(&more, "authenticated_role").await;
    assert_eq!(heard(place.path(), STRANGER, "0"), "Ok");
    assert_eq!(heard(place.path(), "0", "0"), "PermissionDenied");
}

#[tokio::test]
#[ignore = "it is run by the one above, as somebody else"]
async fn asks_at_the_socket() {
    let [socket, token] = ["SOCKET", "TOKEN"].map(|name| std::env::var(name).unwrap());
    let endpoint = Endpoint::from_shared(format!("unix://{socket}")).unwrap();
    let Ok(channel) = endpoint.connect().await else { return println!("HEARD nothing: it cannot connect") };
    let mut request = Request::new(GetCredentialsRequest::default());
    request.metadata_mut().insert("authorization", MetadataValue::try_from(token).unwrap());
    match CredentialBrokerClient::new(channel).get_credentials(request).await {
        Ok(_) => println!("HEARD Ok"),
        Err(status) => println!("HEARD {:?}", status.code()),
    }
}
