//! TLS at the HTTP and the gRPC door: what they show, whom they let in, and the handshake. Knows no file and no request.
//!
//! What it is made of can be replaced while the doors are open: each handshake takes what is in force. No session is
//! resumed, so that every connection shows what it has to show, and no session secret is kept.

mod card;
mod expiry;
mod handshake;
mod pem;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error, ServerConfig};

pub use pem::{Authorities, Chain, PrivateKey};

pub(super) use card::Card;
pub(super) use expiry::{observe, watch};
pub(super) use handshake::greet;

/// What a door shows and asks for, whole and tried.
pub struct Tls {
    http: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
    /// Who judges the callers' certificates, if they have to show one.
    callers: Option<Arc<dyn ClientCertVerifier>>,
    names: Names,
    expires: SystemTime,
}

/// The names that a certificate is for, in lower case, IPv6 addresses in brackets: as they stand in a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names(Vec<String>);

impl Tls {
    /// Of the server's own `chain` and its `key`. With `callers`, whoever calls has to show a certificate that one of
    /// them signed.
    ///
    /// # Errors
    /// With what is wrong with the key, as a rule that it is another certificate's.
    pub fn new(chain: Chain, key: PrivateKey, callers: Option<Authorities>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let callers = callers.map(|authorities| verifier(authorities, &provider)).transpose()?;
        let (names, expires) = (Names(chain.names), chain.expires);
        let config = |protocol: &[u8]| {
            let builder =
                ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
            let builder = builder.map_err(|error| told(&error))?;
            let builder = match &callers {
                Some(callers) => builder.with_client_cert_verifier(Arc::clone(callers)),
                None => builder.with_no_client_auth(),
            };
            let config = builder.with_single_cert(chain.certificates.clone(), key.0.clone_key());
            let mut config = config.map_err(|error| told(&error))?;
            config.alpn_protocols = vec![protocol.to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok::<_, String>(Arc::new(config))
        };
        Ok(Self { http: config(b"http/1.1")?, grpc: config(b"h2")?, callers, names, expires })
    }

    /// Whether the certificate is for `host`, as it stands in a URL, without a port.
    pub(super) fn bears(&self, host: &str) -> bool {
        self.names.contain(host)
    }

    /// The host and port by which a caller finds the certificate right at the door that is bound to `address`: the address
    /// itself, if it is one and the certificate is for it, or else the first name that the certificate spells out.
    pub(super) fn authority(&self, address: SocketAddr) -> String {
        let own = in_url(address.ip());
        let spelt = || self.names.0.iter().find(|name| !name.starts_with('*'));
        let host = if self.bears(&own) { &own } else { spelt().unwrap_or(&own) };
        format!("{host}:{}", address.port())
    }
}

/// Tells no key and no certificate.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asks = self.callers.is_some();
        f.debug_struct("Tls")
            .field("names", &self.names.0)
            .field("asks_for_a_certificate", &asks)
            .finish_non_exhaustive()
    }
}

impl Names {
    /// A name with `*` is for any one label in its place (RFC 9525 section 6.3).
    fn contain(&self, host: &str) -> bool {
        let below = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
        let is_it = |name: &String| match name.strip_prefix("*.") {
            Some(parent) => below.is_some_and(|below| below.eq_ignore_ascii_case(parent)),
            None => host.eq_ignore_ascii_case(name),
        };
        self.0.iter().any(is_it)
    }
}

fn verifier(authorities: Authorities, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities.0), Arc::clone(provider));
    builder.build().map_err(|error| format!("the authorities of client_ca_file cannot be used: {error}"))
}

fn told(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => {
            "not the key of the certificate in cert_file: take the pair from one place".to_owned()
        }
        other => format!("the pair cannot be used: {other}"),
    }
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole_and_a_star_stands_for_one_label() {
        let names = Names(["broker.test", "*.svc.test", "10.0.0.7", "[fd00::7]"].map(ToOwned::to_owned).to_vec());
        for (host, contained) in [
            ("broker.test", true),
            ("Broker.TEST", true),
            ("a.svc.test", true),
            ("10.0.0.7", true),
            ("[fd00::7]", true),
            ("a.broker.test", false),
            ("a.b.svc.test", false),
            ("svc.test", false),
            (".svc.test", false),
            ("*.svc.test", true),
            ("broker.test.", false),
            ("broker.test.evil.example", false),
            ("fd00::7", false),
            ("", false),
        ] {
            assert_eq!(names.contain(host), contained, "{host}");
        }
    }
}
