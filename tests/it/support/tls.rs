//! An authority of our own, certificates that are right or wrong in one way, and a caller who trusts the authority.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Channel, Endpoint, Uri};

use super::daemon::PATIENCE;
use super::http::{self, Reply};

pub const DAY: Duration = Duration::from_secs(86_400);

/// The name that servers have in tests.
pub const NAME: &str = "broker.test";

/// A certificate and its key, as files hold them.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Who calls a door under TLS.
#[derive(Clone)]
pub struct Caller {
    roots: Arc<RootCertStore>,
    shown: Option<Pair>,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// A certificate authority that only those trust who are given its file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose issuer has its own name.
        parameters.distinguished_name.push(DnType::CommonName, "an authority");
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    /// The authority's own certificate, as `SSL_CERT_FILE` names one.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// A certificate for `names` that is good for so long from now.
    pub fn pair(&self, names: &[&str], left: Duration) -> Pair {
        self.pair_until(names, SystemTime::now() + left)
    }

    /// A certificate for `names` that is or was good until then.
    pub fn pair_until(&self, names: &[&str], until: SystemTime) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = (until.min(SystemTime::now()) - DAY).into();
        parameters.not_after = until.into();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Somebody who trusts this authority, and shows nothing.
    pub fn caller(&self) -> Caller {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).unwrap()).unwrap();
        Caller { roots: Arc::new(roots), shown: None, versions: &BOTH }
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

/// Both versions of TLS that are spoken, and the older one alone.
static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static OLDER: [&SupportedProtocolVersion; 1] = [&TLS12];

impl Pair {
    /// The certificate as it is on the wire.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

impl Caller {
    /// The same, and it shows this when it is asked.
    pub fn showing(&self, pair: Pair) -> Self {
        Self { shown: Some(pair), ..self.clone() }
    }

    /// The same, by the older version of TLS alone.
    pub fn of_tls12(&self) -> Self {
        Self { versions: &OLDER, ..self.clone() }
    }

    /// A connection to the server that is called [`NAME`].
    pub async fn connect(&self, address: SocketAddr, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder =
            builder.with_protocol_versions(self.versions).unwrap().with_root_certificates(Arc::clone(&self.roots));
        let mut config = match &self.shown {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    /// `GET path` with `headers`, which name the Host, on a connection of its own; status 0 if there was no answer.
    pub async fn get(&self, address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
        let own: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{own}\r\n");
        let exchange = async {
            let mut answer = Vec::new();
            if let Ok(mut stream) = self.connect(address, "http/1.1").await
                && stream.write_all(request.as_bytes()).await.is_ok()
            {
                // One that refuses says so instead of an answer.
                stream.read_to_end(&mut answer).await.ok();
            }
            answer
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer within patience");
        http::parse(&String::from_utf8_lossy(&answer))
    }

    /// A gRPC channel to the server that is called [`NAME`].
    pub async fn channel(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let caller = self.clone();
        let connect = move |_: Uri| {
            let caller = caller.clone();
            async move { caller.connect(address, "h2").await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_shared(format!("http://{NAME}:{}", address.port())).unwrap();
        endpoint.connect_with_connector(tower::service_fn(connect)).await
    }
}
