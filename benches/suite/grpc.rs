//! The gRPC door against a bare tonic server that answers a message of the same size.

use std::net::SocketAddr;

use cupbearer::clock::Clock;
use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest};
use tonic::Request;
use tonic::transport::Channel;

use crate::daemon::{Daemon, Upstream};
use crate::figures::{Figure, Findings, Plot};
use crate::http::per_request;
use crate::turns::Turns;
use crate::world::{runtime, token};
use crate::yardsticks::Yardstick;

const CONNECTIONS: usize = 4;
const AT_ONCE: usize = 4;
const CALLS: usize = 200;
const TURNS: usize = 11;

pub fn run(findings: &mut Findings) {
    let upstream = Upstream::start();
    let daemon = Daemon::ready(&upstream, "");
    let runtime = runtime();
    let token = token(0, Clock::system().now().wall);
    let own = runtime.block_on(open(daemon.grpc));
    let held = runtime.block_on(call(&mut own[0].clone(), &token));
    let bare = Yardstick::start("tonic", held);
    let other = runtime.block_on(open(bare.address));
    let turns = Turns::take(
        TURNS,
        || per_request(bare.pid(), || runtime.block_on(calls(&other, &token))),
        || per_request(daemon.pid(), || runtime.block_on(calls(&own, &token))),
    );
    findings.figures.push(Figure::at_most("gRPC hit / bare tonic echo", turns.ratio(), "x", 1.10, 0.90).noted(format!(
        "CPU of the server's process: {:.1} us against {:.1} us; {}; {CONNECTIONS} connections, {AT_ONCE} calls at once on each",
        turns.subject(),
        turns.yardstick(),
        turns.span()
    )));
    findings.plots.push(Plot {
        file: "grpc",
        title: "gRPC, CPU time of the server for a call".to_owned(),
        bars: vec![("bare tonic".to_owned(), turns.yardstick()), ("cupbearer".to_owned(), turns.subject())],
        unit: "us",
    });
}

type Client = CredentialBrokerClient<Channel>;

async fn open(address: SocketAddr) -> Vec<Client> {
    let endpoint = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap().tcp_nodelay(true);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(CredentialBrokerClient::new(endpoint.connect().await.unwrap()));
    }
    clients
}

async fn calls(clients: &[Client], token: &str) -> usize {
    let lines = clients.iter().flat_map(|client| std::iter::repeat_n(client, AT_ONCE));
    let lines = lines.map(|client| async {
        let mut client = client.clone();
        for _ in 0..CALLS {
            call(&mut client, token).await;
        }
    });
    futures::future::join_all(lines).await.len() * CALLS
}

/// The length of the session token that came.
async fn call(client: &mut Client, token: &str) -> usize {
    let mut request = Request::new(GetCredentialsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let answer = client.get_credentials(request).await.unwrap().into_inner();
    answer.credentials.unwrap().session_token.len()
}
