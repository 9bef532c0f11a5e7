//! The HTTP door against a bare hyper server that answers as many constant bytes: kept connections, and a connection for
//! each request.

use cupbearer::clock::Clock;

use crate::cpu;
use crate::daemon::{Daemon, Upstream};
use crate::figures::{Figure, Findings, Plot};
use crate::load::{self, Kept};
use crate::turns::Turns;
use crate::world::token;
use crate::yardsticks::Yardstick;

const CONNECTIONS: usize = 16;
const TOKENS: usize = 500;
const ROUNDS: usize = 400;
const TURNS: usize = 11;

pub fn run(findings: &mut Findings) {
    let upstream = Upstream::start();
    let audited = "[audit]\nfile = \"{dir}/audit.jsonl\"\n";
    let (plain, audited) = (Daemon::ready(&upstream, ""), Daemon::ready(&upstream, audited));
    let now = Clock::system().now().wall;
    let tokens: Vec<String> = (0..TOKENS).map(|subject| token(subject, now)).collect();
    let requests = |daemon: &Daemon| tokens.iter().map(|token| daemon.request(token)).collect::<Vec<_>>();
    let (own, audited_requests) = (requests(&plain), requests(&audited));
    let whole = load::once(plain.http, &own[0]).1;
    // Head and body together are as long as ours, whose head has two fields more.
    let bare = Yardstick::start("hyper", whole - 110);
    load::anew(plain.http, &own, TOKENS);
    load::anew(audited.http, &audited_requests, TOKENS);

    let kept = turns(&bare, plain.pid(), plain.http, &own);
    let logged = turns(&bare, audited.pid(), audited.http, &audited_requests);
    let anew = |pid, address, requests: &[Vec<u8>]| per_request(pid, || load::anew(address, requests, 2_000));
    let anew = Turns::take(TURNS, || anew(bare.pid(), bare.address, &own), || anew(plain.pid(), plain.http, &own));
    for (what, turns, target, stretch) in [
        ("HTTP hit / bare hyper", &kept, Some(1.15), Some(1.05)),
        ("HTTP hit, audited to a file / bare hyper", &logged, None, None),
        ("HTTP hit, a connection each / bare hyper", &anew, Some(1.10), None),
    ] {
        let note = format!(
            "CPU of the server's process: {:.1} us against {:.1} us; {}; {CONNECTIONS} connections, {TOKENS} tokens",
            turns.subject(),
            turns.yardstick(),
            turns.span()
        );
        let figure = Figure { target, stretch, ..Figure::told(what, turns.ratio(), "x") };
        findings.figures.push(figure.noted(note));
    }
    findings.plots.push(Plot {
        file: "http",
        title: "HTTP, CPU time of the server for a request".to_owned(),
        bars: vec![
            ("bare hyper".to_owned(), kept.yardstick()),
            ("cupbearer".to_owned(), kept.subject()),
            ("cupbearer, audited to a file".to_owned(), logged.subject()),
            ("bare hyper, a connection each".to_owned(), anew.yardstick()),
            ("cupbearer, a connection each".to_owned(), anew.subject()),
        ],
        unit: "us",
    });
}

fn turns(bare: &Yardstick, pid: u32, address: std::net::SocketAddr, requests: &[Vec<u8>]) -> Turns {
    let mut yardstick = Kept::open(bare.address, CONNECTIONS);
    let mut subject = Kept::open(address, CONNECTIONS);
    Turns::take(
        TURNS,
        || per_request(bare.pid(), || yardstick.ask(requests, ROUNDS)),
        || per_request(pid, || subject.ask(requests, ROUNDS)),
    )
}

/// What one request costs the process, in us of CPU time.
pub fn per_request(pid: u32, load: impl FnOnce() -> usize) -> f64 {
    let started = cpu::of(pid);
    let answers = load();
    (cpu::of(pid) - started).as_nanos() as f64 / answers as f64 / 1_000.0
}
