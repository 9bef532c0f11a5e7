//! A configuration for the program under test, port 0 throughout.

use cupbearer::dev;

/// `[upstream]` rates that no test waits for.
pub const PLENTY: &str = "[upstream]\nget_id_per_second = 10_000\nget_credentials_for_identity_per_second = 10_000\n";

/// For callers who are to hear of a failure, or to be sent away, as soon as an SDK would.
pub const IMPATIENT: &str = "[limits]\ncold_hold_ms = 900\n";

/// For tests with callers of both kinds: longer than a busy machine stands still, shorter than a reader's patience.
pub const HALF_PATIENT: &str = "[limits]\ncold_hold_ms = 3000\n";

/// Otherwise a first answer is waited for as long as it may take, since a machine that stands still for a second is no
/// fault of the program.
const PATIENT: &str = "[limits]\ncold_hold_ms = 10_000\n";

/// What differs from test to test.
pub struct Settings<'a> {
    /// Where Cognito is.
    pub endpoint: &'a str,
    /// Where the key set is.
    pub jwks: String,
    /// `[server]` beyond the addresses, `[limits]` and so on.
    pub more: &'a str,
    /// `ambiguous_role_resolution`.
    pub ambiguous: &'a str,
}

impl<'a> Settings<'a> {
    /// For the scenario of the embedded emulator at `endpoint`.
    pub fn new(endpoint: &'a str) -> Self {
        let jwks = format!("{endpoint}/{}/.well-known/jwks.json", dev::USER_POOL_ID);
        Self { endpoint, jwks, more: "", ambiguous: "authenticated_role" }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let Self { endpoint, jwks, more, ambiguous } = self;
        let drain = if more.contains("drain_seconds") { "" } else { "drain_seconds = 0" };
        let (server, tables) = more.split_once("---").unwrap_or((more, ""));
        let limits = if tables.contains("[limits]") { "" } else { PATIENT };
        let tables =
            if tables.contains("cold_hold_ms") { tables.to_owned() } else { tables.replace("[limits]\n", PATIENT) };
        format!(
            r#"[server]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
{drain}
{server}
[aws]
region = "{region}"
endpoint_url = "{endpoint}"

{limits}
[[user_pools]]
id = "{pool}"
client_ids = ["{client}"]
issuers = ["{issuer}"]
jwks_url = "{jwks}"

[profiles.default]
flow = "enhanced"
identity_pool_id = "{identity_pool}"

[profiles.default.roles]
mapping = "token"
ambiguous_role_resolution = "{ambiguous}"
authenticated_role = "{editor}"
aliases = {{ admin = "{admin}", editor = "{editor}" }}
{tables}"#,
            region = dev::REGION,
            pool = dev::USER_POOL_ID,
            client = dev::CLIENT_ID,
            issuer = dev::ISSUER,
            identity_pool = dev::IDENTITY_POOL_ID,
            admin = dev::ADMIN_ROLE_ARN,
            editor = dev::EDITOR_ROLE_ARN,
        )
    }
}
