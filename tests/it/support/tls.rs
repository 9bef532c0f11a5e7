//! An authority of our own, and servers' certificates that are right or wrong in one way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate authority that only those trust who are given its file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    /// The authority's own certificate, as `SSL_CERT_FILE` names one.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// A server called `name`, for two days from yesterday.
    pub fn server(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        acceptor(&parameters(name).signed_by(&key, &self.issuer).unwrap(), &key)
    }

    /// A server called `name` whose certificate has expired.
    pub fn expired_server(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut parameters = parameters(name);
        parameters.not_before = (SystemTime::now() - 3 * DAY).into();
        parameters.not_after = (SystemTime::now() - DAY).into();
        acceptor(&parameters.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

/// A server called `name` that vouches for itself.
pub fn self_signed_server(name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    acceptor(&parameters(name).self_signed(&key).unwrap(), &key)
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.not_before = (SystemTime::now() - DAY).into();
    parameters.not_after = (SystemTime::now() + DAY).into();
    parameters
}

fn acceptor(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
