//! The files of `tests/it/config`.

mod any;
mod flows;
mod mutated;
mod reference;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::Duration;

use super::*;
use crate::roles::{Ambiguous, Mapping};
use crate::upstream::Flow;

/// What the test environment says, and no fault may.
const SECRET: &str = "Hunter2 secret!";

/// The same, and it can be the name of a claim.
const WORD: &str = "Hunter2word";

/// What the file `token` holds.
const TOKEN: &str = "0123456789abcdef";

/// What the files `secret` and `secrets` hold.
const CLIENT_SECRET: &str = "0secret1secret2secret3secret";

fn env(name: &str) -> Option<String> {
    let value = match name {
        "POOL" => "FromEnv",
        "PORT" => "4000",
        "NESTED" => "${POOL}",
        "SECRET" => SECRET,
        "WORD" => WORD,
        _ => return None,
    };
    Some(value.to_owned())
}

fn no_env(_: &str) -> Option<String> {
    None
}

/// What the files `server.pem` and `server.key` hold.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| pair(&["broker.test", "10.0.0.7"]));

/// A certificate for these names, and its key.
fn pair(names: &[&str]) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The files that a configuration can name.
fn files_of_config(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("token") => Ok(format!("{TOKEN}\n").into_bytes()),
        Some("secrets") => Ok(format!("client+2 {CLIENT_SECRET}\n").into_bytes()),
        Some("secret") => Ok(CLIENT_SECRET.into()),
        Some("refresh") => Ok(b"a-refresh-token\n".into()),
        Some("blank") => Ok(b"\n".into()),
        Some("server.pem") => Ok(PAIR.0.clone().into()),
        Some("server.key") => Ok(PAIR.1.clone().into()),
        Some("nameless.pem") => Ok(pair(&[]).0.into()),
        Some("other.key") => Ok(pair(&["other.test"]).1.into()),
        Some("refresh-${x") => Ok(vec![b'x'; 1_800]),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The data files whose names begin with `prefix`, by name.
fn files(prefix: &str) -> Vec<(String, String)> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/config"));
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name.starts_with(prefix) && name.ends_with(".toml"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {prefix} files in {}", directory.display());
    files
}

fn file(name: &str) -> String {
    files(name).remove(0).1
}

fn sound(name: &str) -> Config {
    let parsed = parse_with_files(name, &file(name), &env, &files_of_config);
    parsed.unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of `text`; it must have some.
fn faults(name: &str, text: &str) -> Faults {
    parse_with_files(name, text, &env, &files_of_config).err().unwrap_or_else(|| panic!("{name} has no faults"))
}

/// The `# expect: LINE: KEY: MESSAGE` lines of a file; `-` stands for no key.
fn expected(text: &str) -> Vec<(usize, String, String)> {
    let expected = text.lines().filter_map(|line| line.strip_prefix("# expect: "));
    let parts = expected.map(|line| {
        let mut parts = line.splitn(3, ": ");
        let (line, key, message) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let key = if key == "-" { "" } else { key };
        (line.parse().unwrap(), key.to_owned(), message.to_owned())
    });
    parts.collect()
}

#[test]
fn bad_files_have_the_faults_that_they_say_and_no_others() {
    for (name, text) in files("bad-") {
        let faults = faults(&name, &text);
        let mut left: Vec<_> = faults.iter().collect();
        for (line, key, message) in expected(&text) {
            let found = left
                .iter()
                .position(|fault| fault.line == Some(line) && fault.key == key && fault.message.starts_with(&message));
            let found = found.unwrap_or_else(|| panic!("{name} lacks {line}: {key}: {message}\nfound:\n{faults}"));
            left.remove(found);
        }
        assert!(left.is_empty(), "{name} has more: {left:#?}");
        for told in [faults.to_string(), format!("{faults:?}")] {
            assert!(!told.contains(SECRET) && !told.contains(WORD), "{told}");
        }
    }
}

#[test]
fn a_fault_is_one_line_with_file_line_key_and_what_would_be_right() {
    let text = file("bad-unknown-keys.toml");
    let told = faults("etc/cupbearer.toml", &text).to_string();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), expected(&text).len(), "{told}");
    assert_eq!(lines[1], "etc/cupbearer.toml:4: server.htpp: unknown key: did you mean http?");
    assert!(lines[2].starts_with(r#"etc/cupbearer.toml:5: server."a b\n": unknown key: "#), "{told}");
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    for (name, text) in files("ok-").into_iter().filter(|(name, _)| !name.ends_with("-shown.toml")) {
        let shown = sound(&name).show();
        let again = parse_with_files("shown", &shown, &no_env, &files_of_config);
        let again = again.unwrap_or_else(|faults| panic!("{name}: {faults}\n{shown}"));
        assert_eq!(again.warnings(), sound(&name).warnings(), "{name}");
        assert_eq!(again.show(), shown, "{name}");
        assert_eq!(shown, file(&name.replace(".toml", "-shown.toml")), "{name}:\n{text}");
    }
}

#[test]
fn what_is_not_said_has_the_documented_defaults() {
    let config = sound("ok-minimal.toml");
    let server = &config.server;
    assert_eq!([server.http, server.grpc, server.admin].map(|door| door.port()), [2870, 2871, 2872]);
    assert!(server.http.ip().is_loopback());
    assert_eq!((server.cold_hold, server.longest_hold), (Duration::from_millis(900), Duration::from_secs(5)));
    assert_eq!(server.drain, Duration::from_secs(10));
    assert_eq!((server.limits.connections, server.limits.header_bytes), (10_000, 32_768));
    assert_eq!((config.auth.token_bytes, config.auth.verdicts.get()), (16_384, 10_800));
    let pool = &config.auth.user_pools[0];
    let issuers = ["cognito-idp", "issuer-cognito-idp"]
        .map(|service| format!("https://{service}.us-east-1.amazonaws.com/us-east-1_AbCdEf123"));
    assert!(pool.issuers.iter().map(|issuer| &**issuer).eq(&issuers), "{:?}", pool.issuers);
    assert_eq!(pool.jwks_url.as_str(), format!("{}/.well-known/jwks.json", issuers[0]));
    assert_eq!(config.upstream.pool_regions, ["us-east-1"]);
    assert_eq!(config.upstream.cognito_identity_endpoint_url, None);
    assert_eq!(config.upstream.call_timeout, Duration::from_secs(5));
    let (limits, policy) = (&config.broker.limits, &config.broker.policy);
    assert_eq!((limits.entries, limits.entries_per_subject, limits.concurrency), (43_200, 32, 64));
    assert_eq!(limits.exchange_timeout, Duration::from_secs(5));
    assert_eq!((policy.at, policy.jitter, policy.latest_at), (0.333, 0.1, 0.6));
    assert_eq!(policy.min_remaining, Duration::from_secs(1200));
    let profile = &config.broker.profiles["default"];
    assert!(profile.user_pools.contains("us-east-1_AbCdEf123"));
    assert_eq!((&profile.rules.mapping, &profile.rules.ambiguous), (&Mapping::Token, &Ambiguous::Deny));
    assert!(profile.rules.preferred_must_be_listed && profile.rules.aliases.is_empty());
    assert_eq!(profile.target.logins_key, None);
    assert_eq!((profile.target.flow, profile.target.duration), (Flow::Enhanced, Duration::from_secs(3600)));
    assert!(!profile.accept_access_tokens && !config.auth.access_tokens && !config.upstream.own_identity);
    assert!(config.upstream.sts_regions.is_empty() && config.upstream.sts_endpoint_url.is_none());
    let sessions = &config.broker.sessions;
    assert_eq!((sessions.all, sessions.per_subject, sessions.idle), (10_000, 32, Duration::from_secs(3600)));
    assert!(config.audit.is_none() && server.admin_token.is_none() && config.warnings().is_empty());
}

#[test]
fn what_is_said_is_used() {
    let config = sound("ok-everything.toml");
    assert_eq!(config.server.http.to_string(), "127.0.0.2:0");
    assert_eq!(config.server.grpc.to_string(), "[::1]:0");
    assert_eq!(config.server.metrics.map(|door| door.to_string()).as_deref(), Some("0.0.0.0:9090"));
    assert_eq!(config.server.grpc_uds, Some(PathBuf::from("/run/${x/grpc.sock")));
    let peers = server::LocalPeers { uids: Some(vec![1000, 1001]), gids: vec![0, 4_294_967_294] };
    assert_eq!(config.server.grpc_uds_peers, peers);
    assert_eq!(config.server.drain, Duration::ZERO);
    assert_eq!(config.server.cold_hold, Duration::from_secs(10));
    assert_eq!(config.server.longest_hold, Duration::from_secs(60));
    assert_eq!(config.upstream.call_timeout, Duration::from_secs(60));
    assert_eq!(config.upstream.pool_regions, ["local"]);
    // The service's own address goes before the one for all.
    let endpoint = config.upstream.cognito_identity_endpoint_url.as_ref().map(url::Url::as_str);
    assert_eq!(endpoint, Some("http://localhost:5600/"));
    assert_eq!(config.upstream.sts_endpoint_url.as_ref().map(url::Url::as_str), Some("http://localhost:5601/"));
    let sessions = &config.broker.sessions;
    assert_eq!((sessions.all, sessions.per_subject, sessions.idle), (1, 1, Duration::from_secs(60)));
    let destination = audit::Destination::File("/var/log/cupbearer/${x.jsonl".into());
    assert_eq!(config.audit, Some(audit::Config { destination, hashed_subjects: true }));
    let pool = &config.auth.user_pools[0];
    // Byte for byte as typed, since tokens are compared with it.
    assert_eq!(&*pool.issuers[1], "http://[::1]:5600/local_Pool/");
    assert_eq!(pool.jwks_url.as_str(), "http://127.200.0.1:5600/keys");
    let profile = &config.broker.profiles["a.b"];
    assert_eq!(profile.target.logins_key.as_deref(), Some("127.0.0.1:5600/local_Pool"));
    assert_eq!(profile.rules.mapping, Mapping::Pool);
    assert_eq!(profile.rules.aliases["1.0"].as_str(), "arn:aws:iam::111122223333:role/${x");
    assert!(!profile.rules.preferred_must_be_listed);
    assert!(matches!(&profile.rules.ambiguous, Ambiguous::AuthenticatedRole(Some(_))));
    assert_eq!((config.broker.policy.at, config.broker.policy.jitter), (0.25, 0.0));
    assert_eq!((config.broker.limits.entries, config.broker.limits.concurrency), (16, 1));
    assert_eq!((config.auth.token_bytes, config.server.limits.header_bytes), (8191, 8192));
}

#[test]
fn profiles_admit_all_user_pools_and_call_each_region_once() {
    let config = sound("ok-sample.toml");
    assert_eq!(config.broker.profiles["default"].user_pools.len(), 1);
    assert_eq!(config.broker.profiles["reports"].user_pools.len(), 2);
    assert_eq!(config.upstream.pool_regions, ["eu-west-1", "us-east-1"]);
}

#[test]
fn the_default_role_of_the_pool_need_not_be_known() {
    let text = file("ok-minimal.toml") + "roles.ambiguous_role_resolution = \"authenticated_role\"\n";
    let config = parse("test", &text, &no_env).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.broker.profiles["default"].rules.ambiguous, Ambiguous::AuthenticatedRole(None));
    assert!(config.show().contains("# authenticated_role: the identity pool's own\n"));
}

#[test]
fn lengths_have_their_limits() {
    let long = |letter: &str, length| letter.repeat(length);
    for (length, fits) in [(55, true), (56, false)] {
        assert_eq!(forms::user_pool_id(format!("r_{}", long("A", length - 2))).is_ok(), fits);
        assert_eq!(forms::identity_pool_id(format!("r:{}", long("a", length - 2))).is_ok(), fits);
    }
    for (length, fits) in [(1, true), (128, true), (129, false), (0, false)] {
        assert_eq!(forms::client_id(long("a", length)).is_ok(), fits);
        assert_eq!(forms::logins_key(long("a", length)).is_ok(), fits);
    }
    for (length, fits) in [(1, true), (64, true), (65, false), (0, false)] {
        assert_eq!(forms::name(long("a", length)).is_ok(), fits);
        // Characters, not bytes.
        assert_eq!(forms::claim(long("é", length)).is_ok(), fits);
    }
    for (length, fits) in [(1, true), (128, true), (129, false), (0, false)] {
        assert_eq!(forms::group(long("é", length)).is_ok(), fits);
        assert_eq!(forms::rule_value(long("é", length)).is_ok(), fits);
    }
    for (length, fits) in [(1, false), (2, true), (1224, true), (1225, false)] {
        assert_eq!(forms::external_id(long("a", length)).is_ok(), fits);
    }
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cupbearer.toml");
    let fault = |path: &Path| load(path).err().unwrap().to_string();
    assert!(fault(&path).starts_with(&format!("{}: cannot be read: ", path.display())));
    fs::write(&path, b"[server]\n# \xff\n").unwrap();
    assert_eq!(fault(&path), format!("{}:2: no TOML: the line is not UTF-8", path.display()));
    let token = directory.path().join("token");
    fs::write(&path, format!("{}\n[admin]\ntoken_file = {:?}\n", file("ok-minimal.toml"), token.display())).unwrap();
    assert!(fault(&path).contains(": admin.token_file: the file cannot be read: "));
    for (length, fits) in [(16, true), (1024, true), (15, false), (1025, false), (100_000, false)] {
        fs::write(&token, "t".repeat(length) + "\r\n").unwrap();
        assert_eq!(load(&path).is_ok(), fits, "{length}");
    }
}

#[test]
fn a_private_key_that_others_can_read_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = at("cupbearer.toml");
    let tls = format!("[server.tls]\ncert_file = {:?}\nkey_file = {:?}\n", at("pem"), at("key"));
    fs::write(&path, tls + &file("ok-minimal.toml")).unwrap();
    fs::write(at("pem"), &PAIR.0).unwrap();
    fs::write(at("key"), &PAIR.1).unwrap();
    for (mode, fits) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o602, false)] {
        fs::set_permissions(at("key"), fs::Permissions::from_mode(mode)).unwrap();
        match load(&path) {
            Ok(config) => assert!(fits && config.server.tls.is_some(), "{mode:o}"),
            Err(faults) => assert!(!fits && faults.to_string().contains("others can read or write it"), "{faults}"),
        }
    }
    fs::write(at("pem"), PAIR.0.repeat(1_000_000 / PAIR.0.len() + 100)).unwrap();
    assert!(load(&path).err().unwrap().to_string().contains("it is too long"));
}

#[test]
fn other_secrets_that_others_can_read_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = at("cupbearer.toml");
    fs::write(&path, file("ok-minimal.toml") + &format!("\n[admin]\ntoken_file = {:?}\n", at("token"))).unwrap();
    fs::write(at("token"), "t".repeat(16)).unwrap();
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o620, true), (0o602, true)] {
        fs::set_permissions(at("token"), fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load(&path).unwrap_or_else(|faults| panic!("{faults}")).warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.starts_with("admin.token_file: others can read or write")));
    }
}

#[test]
fn a_configuration_that_everybody_can_write_or_that_has_no_end_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cupbearer.toml");
    let fault = |path: &Path| load(path).err().map(|faults| faults.to_string()).unwrap_or_default();
    fs::write(&path, file("ok-minimal.toml")).unwrap();
    for (mode, fits) in [(0o644, true), (0o664, true), (0o646, false), (0o777, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fault(&path).contains("everybody can write it: chmod o-w"), !fits, "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, file("ok-minimal.toml") + &"#\n".repeat(600_000)).unwrap();
    assert!(fault(&path).contains("it is longer than 1 MiB"));
    assert!(!fault(Path::new("/dev/zero")).is_empty());
}

#[test]
fn plain_doors_beyond_loopback_are_warned_of() {
    let warnings = sound("ok-link-local.toml").warnings();
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].starts_with("server.http: whatever on this node or link reaches 169.254.170.2 "),
        "{warnings:?}"
    );
    assert!(sound("ok-doors.toml").warnings().is_empty(), "under TLS there is nothing to warn of");
}

#[test]
fn the_flag_says_where_the_file_is() {
    assert_eq!(config_path(Some(PathBuf::from("a.toml"))), Ok(PathBuf::from("a.toml")));
    assert!(NoPath.to_string().contains("CUPBEARER_CONFIG"));
    assert!(temp_dir().is_absolute());
}
