//! Types that hold a secret do not print it (A56), whoever prints them.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::broker::{ConfiguredSession, Opened};
use cupbearer::clock::{Clock, Expiry};
use cupbearer::dev;
use cupbearer::model::{Ask, Caller, Credentials, TokenUse};
use cupbearer::roles::{Choice, Reason};
use cupbearer::secret::CupToken;
use cupbearer::secret_file::SecretFile;
use cupbearer::server::proto::{
    self, GetCredentialsResponse, OpenSessionRequest, OpenSessionResponse, UpdateSessionRequest,
    WatchCredentialsResponse,
};
use cupbearer::upstream::{AppClient, UserPoolsConfig};

use crate::support::scene::EMULATOR;

/// Whatever a caller of the crate may print.
#[test]
fn types_with_secrets_do_not_print_them() {
    const SECRET: &str = "MARKER-SECRET-TEXT";
    let now = Clock::system().now();
    let expires = Expiry::at(now.wall + Duration::from_secs(60), now);
    let client = AppClient { user_pool: "us-east-1_x".into(), id: "client".into() };
    let credentials = || {
        Credentials::from(cupbearer::model::Issued {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: SECRET.to_owned().into(),
            session_token: SECRET.to_owned().into(),
            received: now,
            expires,
            role_arn: None,
            identity_id: None,
        })
    };
    let caller = Arc::new(Caller {
        user_pool: "us-east-1_x".into(),
        issuer: "issuer".into(),
        subject: "sub".into(),
        client_id: "client".into(),
        token_use: TokenUse::Id,
        fingerprint: [0; 32],
        expires,
    });
    let configured = ConfiguredSession {
        name: "batch".to_owned(),
        authorization: SECRET.into(),
        ask: Ask::default(),
        client: client.clone(),
        refresh_token: SecretFile::new("file"),
    };
    let user_pools = UserPoolsConfig {
        regions: Vec::new(),
        endpoint_url: None,
        client_secrets: [(client, SECRET.into())].into(),
        call_timeout: Duration::from_secs(1),
    };
    let message = proto::Credentials {
        secret_access_key: SECRET.to_owned(),
        session_token: SECRET.to_owned(),
        ..proto::Credentials::default()
    };
    let open = OpenSessionRequest { refresh_token: SECRET.to_owned(), ..OpenSessionRequest::default() };
    let opened = OpenSessionResponse { authorization_token: SECRET.to_owned(), ..OpenSessionResponse::default() };
    let update = UpdateSessionRequest { refresh_token: SECRET.to_owned(), ..UpdateSessionRequest::default() };
    let reply = GetCredentialsResponse { credentials: Some(message.clone()), present_token_by: None };
    let renewal = WatchCredentialsResponse { credentials: Some(message.clone()), present_token_by: None };
    let choice = Choice { asked: None, expected: None, reason: Reason::PoolDecides };
    let told = [
        format!("{:?}", CupToken::new(SECRET)),
        format!("{:?} {:?}", credentials(), Arc::new(credentials())),
        format!("{caller:?} {configured:?} {user_pools:?}"),
        format!("{:?}", Opened { id: "id".to_owned(), authorization: SECRET.into(), expires, caller, choice }),
        format!("{message:?} {open:?} {opened:?} {update:?} {reply:?} {renewal:?}"),
        format!("{:?}", **EMULATOR),
    ];
    for text in told {
        assert!(!text.contains("MARKER") && !text.contains(dev::PASSWORD), "{text}");
        assert!(text.len() > 10, "something is told: {text}");
    }
    assert_eq!(format!("{:?}", CupToken::new(SECRET)), "CupToken(18 bytes)");
}
