//! The machine's clocks jump, and the machine sleeps, under the real program (F6): nothing expired is served, and there is
//! no storm of calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::tool;
use crate::support::daemon::command;
use crate::support::fault::{Fault, now_seconds};
use crate::support::http::Reply;
use crate::support::scene::{Scene, embedded, token_with};
use crate::support::settings::{IMPATIENT, PLENTY, Settings};

const EXCHANGE: &str = "GetCredentialsForIdentity";
const HOUR: i64 = 3_600;
const FIVE_MINUTES: i64 = 300;

/// How long credentials live that the test sees die: longer than it takes to hand them to all users.
const LIFE_SECONDS: i64 = 12;

/// How many hold credentials when the clock jumps.
const USERS: usize = 40;

/// A program whose clocks the test moves.
struct Clocked {
    scene: Scene,
    offset: PathBuf,
    _dir: TempDir,
}

impl Clocked {
    /// With `library` preloaded, and its `variables`; `%` in one stands for the file that holds the offset.
    async fn start(library: &Path, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let offset = dir.path().join("offset");
        fs::write(&offset, "+0").unwrap();
        let file = offset.to_str().unwrap();
        let mut all = vec![("LD_PRELOAD", library.to_str().unwrap())];
        all.extend(variables.iter().map(|(name, value)| (*name, if *value == "%" { file } else { *value })));
        let proxy = embedded().await;
        let text = Settings { more: &format!("---{IMPATIENT}{PLENTY}"), ..Settings::new(&proxy.url) }.text();
        let scene = Scene::started_by(proxy, &text, |arguments| command(arguments, &all)).await;
        scene.daemon.ready().await;
        Self { scene, offset, _dir: dir }
    }

    /// libfaketime moves the wall clock and leaves the others alone.
    async fn with_wall_clock() -> Self {
        let variables = [
            ("FAKETIME_TIMESTAMP_FILE", "%"),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // It keeps the offset that it reads in unguarded statics: of two threads one may find none.
            ("TOKIO_WORKER_THREADS", "1"),
        ];
        Self::start(&libfaketime(), &variables).await
    }

    /// A library of our own moves the clocks that a suspend moves.
    async fn that_sleeps(options: &[&str]) -> Self {
        let built = tempfile::tempdir().unwrap();
        let library = built.path().join("suspend.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/suspend.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2"]).args(options).arg("-o").arg(&library).arg(source);
        let done = tool(&mut compile, "apt-get install gcc");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self::start(&library, &[("SUSPENDED_SECONDS", "%")]).await
    }

    fn jump(&self, seconds: i64) {
        // By rename, so that the program never reads half of it.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, &self.offset).unwrap();
    }

    async fn all(&self, tokens: &[String]) -> Vec<Reply> {
        join_all(tokens.iter().map(|token| self.scene.ask("/v1/credentials", token))).await
    }

    async fn keys(&self, tokens: &[String]) -> Vec<Value> {
        let started = Instant::now();
        let mut replies = self.all(tokens).await;
        while replies.iter().any(|reply| reply.status == 503) {
            assert!(started.elapsed() < Duration::from_secs(60), "not all are served:\n{}", self.scene.daemon.log());
            replies = self.all(tokens).await;
        }
        assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
        replies.iter().map(|reply| reply.json()["AccessKeyId"].clone()).collect()
    }

    fn calls(&self) -> usize {
        self.scene.proxy.calls("GetId") + self.scene.proxy.calls(EXCHANGE)
    }

    /// Asks until all have new credentials; meanwhile nobody gets old ones. Says how long it took.
    async fn until_all_are_new(&self, tokens: &[String], old: &[Value]) -> Duration {
        let started = Instant::now();
        loop {
            let replies = self.all(tokens).await;
            for ((reply, old), token) in replies.iter().zip(old).zip(tokens) {
                assert!(reply.status == 503 || reply.status == 200, "{reply:?}");
                let is_old = |reply: &Reply| reply.status == 200 && reply.json()["AccessKeyId"] == *old;
                // The library, not the program, may have lost the offset for one reading; it does not do so twice.
                let again = if is_old(reply) { Some(self.scene.ask("/v1/credentials", token).await) } else { None };
                assert!(!again.as_ref().is_some_and(is_old), "what has expired was served: {again:?}");
            }
            if replies.iter().all(|reply| reply.status == 200) {
                return started.elapsed();
            }
            assert!(started.elapsed() < Duration::from_secs(60), "not all came back:\n{}", self.scene.daemon.log());
        }
    }
}

fn libfaketime() -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    let found = places.iter().map(|place| Path::new(place).join("libfaketime.so.1")).find(|path| path.exists());
    found.expect("libfaketime is missing; to install it: apt-get install faketime")
}

/// Tokens of so many users, good for so many seconds.
fn tokens(number: usize, seconds: i64) -> Vec<String> {
    let one = |number| {
        token_with(|claims| {
            claims["sub"] = format!("sleeper-{number}").into();
            claims["exp"] = (now_seconds() + seconds).into();
        })
    };
    (0..number).map(one).collect()
}

/// Three hours ahead, and AWS with us: all that is held is over at once, and so are the logins of an hour.
#[tokio::test]
async fn three_hours_ahead_nothing_old_is_served_and_each_is_fetched_once() {
    let clocked = Clocked::with_wall_clock().await;
    let (lasting, ending) = (tokens(USERS, 23 * HOUR), tokens(1, HOUR));
    let old = clocked.keys(&lasting).await;
    clocked.keys(&ending).await;
    let before = clocked.calls();
    clocked.scene.proxy.bend(EXCHANGE, Fault::Expires(4 * HOUR));
    clocked.jump(3 * HOUR);
    let took = clocked.until_all_are_new(&lasting, &old).await;
    let calls = clocked.calls() - before;
    println!("F6a +3 h: {USERS} users have new credentials after {took:?}, by {calls} calls");
    assert!(calls <= USERS + 5, "a storm: {calls} calls for {USERS} users");
    assert_eq!(clocked.scene.ask("/v1/credentials", &ending[0]).await.status, 401, "a login that is over");
    let reply = clocked.scene.ask("/v1/credentials", &tokens(1, HOUR)[0]).await;
    assert_eq!(reply.status, 401, "and one never seen");
}

/// Our clock alone is three hours ahead: what AWS gives is over as it comes. Nobody is served, AWS is not stormed, and
/// with the clock put right it goes on.
#[tokio::test]
async fn ahead_of_aws_nobody_is_served_and_aws_is_left_alone() {
    let clocked = Clocked::with_wall_clock().await;
    let lasting = tokens(USERS, 23 * HOUR);
    clocked.keys(&lasting).await;
    let before = clocked.calls();
    clocked.jump(3 * HOUR);
    let started = Instant::now();
    let mut refused = 0;
    while started.elapsed() < Duration::from_secs(3) {
        for reply in clocked.all(&lasting).await {
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "{reply:?}");
            refused += 1;
        }
    }
    let (calls, took) = (clocked.calls() - before, started.elapsed());
    println!("F6a +3 h, AWS not with us: {refused} refused in {took:?}, {calls} calls for {USERS} users");
    // Again after 2 seconds, then after 4 and more, each a little earlier or later.
    assert!(calls <= USERS * (3 + took.as_secs() as usize / 4), "a storm: {calls} calls in {took:?}");
    clocked.jump(0);
    let asked = Instant::now();
    while clocked.all(&lasting).await.iter().any(|reply| reply.status != 200) {
        assert!(asked.elapsed() < Duration::from_secs(60), "it did not recover:\n{}", clocked.scene.daemon.log());
    }
    println!("F6a the clock put right: all are served after {:?}", asked.elapsed());
}

/// Three hours back: by the wall clock everything lives three hours longer, by AWS's it does not.
#[tokio::test]
async fn three_hours_back_nothing_lives_longer() {
    let after = |seconds: i64| Duration::from_secs((LIFE_SECONDS + seconds) as u64);
    let clocked = Clocked::with_wall_clock().await;
    clocked.scene.proxy.bend(EXCHANGE, Fault::Expires(LIFE_SECONDS));
    let lasting = tokens(USERS, HOUR);
    let ending = tokens(1, LIFE_SECONDS - 2).remove(0);
    let old = clocked.keys(&lasting).await;
    let received = Instant::now();
    assert_eq!(clocked.scene.ask("/v1/credentials", &ending).await.status, 200);
    clocked.scene.proxy.bend("*", Fault::Closes);
    clocked.scene.proxy.bend(EXCHANGE, Fault::Closes);
    clocked.jump(-3 * HOUR);
    let before = clocked.calls();
    let mut served = 0;
    let mut login_taken = Duration::ZERO;
    while received.elapsed() < after(3) {
        let asked = received.elapsed();
        for (reply, old) in clocked.all(&lasting).await.iter().zip(&old) {
            if reply.status == 200 {
                assert!(asked < after(1), "served {asked:?} after it came, with {LIFE_SECONDS} s to live");
                // It may have been renewed before AWS was gone, never after.
                served += usize::from(reply.json()["AccessKeyId"] == *old);
            }
        }
        if clocked.scene.ask("/v1/credentials", &ending).await.status != 401 {
            login_taken = asked;
        }
    }
    let calls = clocked.calls() - before;
    println!("F6b -3 h: {served} old ones served, all before their end; {calls} calls for {USERS} users without AWS");
    println!("F6b a login with {} s to live was last taken after {login_taken:?}", LIFE_SECONDS - 2);
    assert!(served > 0, "what lives is served");
    assert!(login_taken < after(0), "a login lived on: {login_taken:?}");
    assert!(calls <= USERS * 6, "a storm: {calls} calls");
}

/// Our clock is five minutes off, either way, and stays so: who has just signed in is served, though the token seems to
/// come from the future, and who is long signed out is not.
#[tokio::test]
async fn five_minutes_off_fresh_tokens_are_served_and_dead_ones_are_not() {
    for seconds in [-FIVE_MINUTES, FIVE_MINUTES] {
        let clocked = Clocked::with_wall_clock().await;
        clocked.jump(seconds);
        let started = Instant::now();
        let mut refused = 0;
        while started.elapsed() < Duration::from_secs(3) {
            let fresh = tokens(1, HOUR).remove(0);
            refused += usize::from(clocked.scene.ask("/v1/credentials", &fresh).await.status != 200);
        }
        let dead = token_with(|claims| {
            claims["iat"] = (now_seconds() - 2 * HOUR).into();
            claims["exp"] = (now_seconds() - FIVE_MINUTES - 60).into();
        });
        let dead = clocked.scene.ask("/v1/credentials", &dead).await;
        println!("F18 {seconds} s off: {refused} of the fresh tokens refused; one that is dead: {}", dead.status);
        assert_eq!((refused, dead.status), (0, 401), "{seconds} s:\n{}", clocked.scene.daemon.log());
        // Nothing is held beyond its hour, whatever the date seems to be: the boot-time deadline is an hour away.
        let left = clocked.scene.metric("cupbearer_min_remaining_seconds").await;
        assert!((HOUR - FIVE_MINUTES - 60) as f64 <= left && left <= HOUR as f64, "{seconds} s: {left} s are left");
    }
}

/// The machine sleeps for two hours: no timer has run, and everything is over when it wakes.
#[tokio::test]
async fn after_two_hours_of_sleep_nothing_old_is_served() {
    let clocked = Clocked::that_sleeps(&[]).await;
    let lasting = tokens(USERS, 23 * HOUR);
    let old = clocked.keys(&lasting).await;
    let before = clocked.calls();
    clocked.scene.proxy.bend(EXCHANGE, Fault::Expires(3 * HOUR));
    clocked.jump(2 * HOUR);
    let asked = Instant::now();
    let first = clocked.scene.ask("/v1/credentials", &lasting[0]).await;
    println!("F6c 2 h asleep: the first request is answered with {} after {:?}", first.status, asked.elapsed());
    assert!(first.status != 200 || first.json()["AccessKeyId"] != old[0], "what has expired was served");
    let took = clocked.until_all_are_new(&lasting, &old).await;
    let calls = clocked.calls() - before;
    println!("F6c {USERS} users have new credentials after {took:?}, by {calls} calls");
    assert!(calls <= USERS + 5, "a storm: {calls} calls for {USERS} users");
}

/// The boot-time clock alone: it is read where the test can move it, and it ends a life by itself.
#[tokio::test]
async fn the_boot_time_clock_ends_a_life_by_itself() {
    let clocked = Clocked::that_sleeps(&["-DBOOT_TIME_ALONE"]).await;
    let lasting = tokens(1, 23 * HOUR);
    let old = clocked.keys(&lasting).await;
    clocked.jump(2 * HOUR);
    clocked.until_all_are_new(&lasting, &old).await;
}
