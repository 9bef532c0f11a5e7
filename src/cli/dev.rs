//! `cupbearer dev`: the daemon on the embedded emulator, which it reaches over loopback as it would reach AWS.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{self, VERSION};
use crate::cli::Failure;
use crate::cli::serve::{on_runtime, signals};
use crate::cli::terminal::{comments_dimmed, table};
use crate::clock::Clock;
use crate::config;
use crate::dev::{self, AmbiguousRoleResolution, Emulator};
use crate::metrics::Metrics;
use crate::server::{Connections, Limits, Phase, Places, serve_http1};

/// How often the tokens are made anew; they live for an hour.
const TOKEN_PERIOD: Duration = Duration::from_secs(10 * 60);

/// Longest request that the emulator reads.
const REQUEST_BYTES: usize = 256 * 1024;

/// The emulator's own bounds.
const LIMITS: Limits = Limits { connections: 1024, header_bytes: 64 * 1024 };

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Where the tokens and the configuration go [default: cupbearer-dev-UID in the temporary directory].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What happens to carol, who is in no group.
    #[arg(long, value_enum, default_value = "authenticated_role")]
    ambiguous: Ambiguous,
    /// The first of four ports: HTTP, gRPC, admin, emulator; 0 takes any free ones.
    #[arg(long, default_value_t = 2870)]
    port: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Ambiguous {
    Deny,
    AuthenticatedRole,
}

pub(super) fn run(args: DevArgs) -> Result<(), Failure> {
    let clock = Clock::system();
    let ambiguous = match args.ambiguous {
        Ambiguous::Deny => AmbiguousRoleResolution::Deny,
        Ambiguous::AuthenticatedRole => AmbiguousRoleResolution::AuthenticatedRole,
    };
    let emulator = Emulator::new(ambiguous).map_err(|error| Failure::Failed(error.to_string()))?;
    let emulator = Arc::new(emulator);
    let dir = private_dir(args.dir)?;
    let alone = alone_in(&dir)?;
    let ports = ports(args.port)?;
    on_runtime(async move {
        let address = loopback(ports[3]);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Failure::Bind(format!("cannot bind the emulator to {address}: {error}; use --port")))?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        info!(address = %listener.local_addr()?, "the emulator listens");
        let file = dir.join("cupbearer.toml");
        replace(&file, &configuration(&endpoint, &ports, args.ambiguous))?;
        write_tokens(&emulator, &dir, &clock)?;
        let config = config::load(&file).map_err(|faults| Failure::Usage(faults.to_string()))?;
        let own = SharedCredentialsProvider::new(ApiRole { emulator: Arc::clone(&emulator), clock: clock.clone() });
        let bound = app::bind(config, Some(own)).await?;
        let [http, grpc, admin] = bound.addresses()?.map(|address| address.port());
        // Whoever reads the file finds the ports that were taken, not 0.
        replace(&file, &configuration(&endpoint, &[http, grpc, admin, 0], args.ambiguous))?;
        serve_emulator(listener, Arc::clone(&emulator), clock.clone())?;
        keep_tokens_fresh(emulator, dir.clone(), clock);
        let lines = lines_to_paste(&dir, &bound.addresses()?, &endpoint);
        anstream::stdout().write_all(comments_dimmed(&lines).as_bytes())?;
        bound.run(signals()?).await?;
        drop(alone);
        Ok(())
    })
}

/// Holds `dir` for this process: two of them would each write tokens that the other one refuses.
fn alone_in(dir: &Path) -> Result<File, Failure> {
    let lock = File::create(dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => {
            let dir = dir.display();
            Err(Failure::Usage(format!(
                "another cupbearer dev uses {dir}: end it, or name another directory with --dir"
            )))
        }
    }
}

/// Who the broker is before the emulator: the role of an API, which may assume its users' roles.
#[derive(Debug)]
struct ApiRole {
    emulator: Arc<Emulator>,
    clock: Clock,
}

impl ProvideCredentials for ApiRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let now = self.clock.now().wall;
        let made = self.emulator.api_role_credentials(now).map_err(CredentialsError::provider_error);
        future::ProvideCredentials::ready(made.map(|(id, secret, token)| {
            let (secret, token) = (secret.expose_secret().to_owned(), token.expose_secret().to_owned());
            Credentials::new(id, secret, Some(token), Some(now + API_ROLE_LIFE), "cupbearer-dev")
        }))
    }
}

/// How long the broker uses one set of its own credentials; the emulator's live for six hours.
const API_ROLE_LIFE: Duration = Duration::from_secs(3600);

/// The directory for the tokens, which only its owner may read. One that somebody else made, or may look into, is
/// refused: its name is easy to guess.
fn private_dir(dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let uid = rustix::process::getuid().as_raw();
    let dir = dir.unwrap_or_else(|| config::temp_dir().join(format!("cupbearer-dev-{uid}")));
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(&dir)?;
            if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
                let dir = dir.display();
                return Err(Failure::Usage(format!(
                    "{dir} is not a directory of yours with mode 0700; remove it, or name another with --dir"
                )));
            }
        }
        Err(error) => return Err(Failure::Failed(format!("cannot make {}: {error}", dir.display()))),
    }
    Ok(dir)
}

fn ports(first: u16) -> Result<[u16; 4], Failure> {
    if first == 0 {
        return Ok([0; 4]);
    }
    let port = |offset: u16| first.checked_add(offset);
    match (port(1), port(2), port(3)) {
        (Some(second), Some(third), Some(fourth)) => Ok([first, second, third, fourth]),
        _ => Err(Failure::Usage("--port leaves no room for four ports: use one below 65533".to_owned())),
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The configuration in force; `cupbearer serve` would do the same with it while the emulator runs.
fn configuration(endpoint: &str, ports: &[u16; 4], ambiguous: Ambiguous) -> String {
    let [http, grpc, admin, _] = ports;
    let ambiguous = match ambiguous {
        Ambiguous::Deny => "deny",
        Ambiguous::AuthenticatedRole => "authenticated_role",
    };
    format!(
        r#"# Made by `cupbearer dev`, anew at each start.
[server]
http = "127.0.0.1:{http}"
grpc = "127.0.0.1:{grpc}"
admin = "127.0.0.1:{admin}"
drain_seconds = 0

[aws]
region = "{region}"
endpoint_url = "{endpoint}"

[[user_pools]]
id = "{pool}"
client_ids = ["{client}"]
issuers = ["{issuer}"]
jwks_url = "{endpoint}/{pool}/.well-known/jwks.json"

[profiles.default]
flow = "enhanced"
identity_pool_id = "{identity_pool}"

[profiles.default.roles]
mapping = "token"
ambiguous_role_resolution = "{ambiguous}"
authenticated_role = "{editor}"
aliases = {{ admin = "{admin_role}", editor = "{editor}" }}

# A second identity pool, with the classic flow on and no role mapping: AWS excludes both on one.
[profiles.basic]
flow = "basic"
identity_pool_id = "{basic_pool}"

[profiles.basic.roles]
mapping = "token"
ambiguous_role_resolution = "{ambiguous}"
authenticated_role = "{editor}"
aliases = {{ admin = "{admin_role}", editor = "{editor}" }}

# The API's own role assumes the user's role. `cupbearer serve` finds that role with
# AWS_CONTAINER_CREDENTIALS_FULL_URI={endpoint}{api_role_path}
[profiles.assume-role]
flow = "assume-role"
session_name = "{{{{cognito:username}}}}"

[profiles.assume-role.roles]
mapping = "token"
ambiguous_role_resolution = "{ambiguous}"
authenticated_role = "{editor}"
aliases = {{ admin = "{admin_role}", editor = "{editor}" }}
"#,
        basic_pool = dev::BASIC_IDENTITY_POOL_ID,
        api_role_path = dev::API_ROLE_PATH,
        region = dev::REGION,
        pool = dev::USER_POOL_ID,
        client = dev::CLIENT_ID,
        issuer = dev::ISSUER,
        identity_pool = dev::IDENTITY_POOL_ID,
        editor = dev::EDITOR_ROLE_ARN,
        admin_role = dev::ADMIN_ROLE_ARN,
    )
}

fn write_tokens(emulator: &Emulator, dir: &Path, clock: &Clock) -> io::Result<()> {
    let now = clock.now().wall;
    for user in dev::USER_NAMES {
        if let Some(token) = emulator.id_token(user, now) {
            replace(&dir.join(format!("{user}.jwt")), &token)?;
        }
    }
    Ok(())
}

/// Writes `path` by rename, so that whoever reads it meanwhile sees the old file or the new one, whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&aside, path)
}

fn keep_tokens_fresh(emulator: Arc<Emulator>, dir: PathBuf, clock: Clock) {
    app::forward(async move {
        loop {
            tokio::time::sleep(TOKEN_PERIOD).await;
            if let Err(error) = write_tokens(&emulator, &dir, &clock) {
                warn!(%error, dir = %dir.display(), "the tokens cannot be written");
            }
        }
    });
}

/// Serves the emulator for as long as the process lives.
fn serve_emulator(listener: TcpListener, emulator: Arc<Emulator>, clock: Clock) -> Result<(), Failure> {
    let metrics = Metrics::new(VERSION).map_err(|error| Failure::Failed(error.to_string()))?;
    let (forever, phase) = watch::channel(Phase::Serving);
    let permits = Arc::new(Places::new(LIMITS.connections));
    let connections = Connections::new(permits, Arc::new(metrics), phase);
    app::forward(async move {
        let serve = |stream, phase| {
            let (emulator, clock) = (Arc::clone(&emulator), clock.clone());
            async move {
                let answer = |request| answer(&emulator, &clock, request);
                serve_http1(stream, LIMITS, phase, answer).await;
            }
        };
        connections.serve(listener, serve).await;
        drop(forever);
    });
    Ok(())
}

async fn answer(emulator: &Emulator, clock: &Clock, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, REQUEST_BYTES).collect().await {
        Ok(body) => {
            let request = Request::from_parts(head, body.to_bytes());
            emulator.answer(request, clock.now().wall).map(Full::new)
        }
        Err(_) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
    }
}

fn lines_to_paste(dir: &Path, addresses: &[SocketAddr; 3], endpoint: &str) -> String {
    let [http, grpc, admin] = addresses;
    let dir = dir.display();
    let doors = [
        ["HTTP", &format!("http://{http}"), "credentials, as AWS SDKs ask for them"],
        ["gRPC", &grpc.to_string(), "credentials and sessions, for any language"],
        ["admin", &format!("http://{admin}"), "readiness and metrics"],
        ["emulator", endpoint, "Cognito and STS"],
    ];
    let doors = table("  ", &doors.map(|row| row.map(ToOwned::to_owned)));
    let mut text = format!(
        r#"
cupbearer {VERSION} runs on an embedded Cognito. Users: alice (admin, editor), bob (editor), carol (no group).

{doors}
# The credentials of alice's role, as any HTTP client gets them:
curl -s -H "Authorization: $(cat '{dir}/alice.jwt')" http://{http}/v1/credentials

# The same, by name of a role that her token holds:
curl -s -H "Authorization: $(cat '{dir}/alice.jwt')" http://{http}/v1/credentials/default/editor

# The other flows: the classic one, and the API's own role that assumes the user's:
curl -s -H "Authorization: $(cat '{dir}/alice.jwt')" http://{http}/v1/credentials/basic
curl -s -H "Authorization: $(cat '{dir}/alice.jwt')" http://{http}/v1/credentials/assume-role

# A stock AWS SDK or CLI, with no code at all:
unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CONTAINER_AUTHORIZATION_TOKEN
unset AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_WEB_IDENTITY_TOKEN_FILE
export AWS_REGION={region} AWS_DEFAULT_REGION={region}
export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{http}/v1/credentials
export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='{dir}/alice.jwt'
aws sts get-caller-identity --endpoint-url {endpoint}

# gRPC, from the root of the repository:
cargo run --release --example get_credentials -- {grpc} '{dir}/alice.jwt'

# Why a role:
cargo run --release -- explain --config '{dir}/cupbearer.toml' < '{dir}/bob.jwt'

# What it is doing:
curl -s http://{admin}/readyz
curl -s http://{admin}/metrics
"#,
        region = dev::REGION,
    );
    // Writing into a String cannot fail.
    writeln!(text, "\nThe configuration in force: {dir}/cupbearer.toml. Ctrl-C ends.").ok();
    text
}
