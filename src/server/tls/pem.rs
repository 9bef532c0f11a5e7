//! The parts that TLS is made of, from PEM (RFC 7468). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroize;

use super::in_url;

/// A server's certificate and those that vouch for it.
pub struct Chain {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Of the server's own certificate, as they stand in a URL.
    pub(super) names: Vec<String>,
    /// When the first of them expires.
    pub(super) expires: SystemTime,
}

/// The key of a certificate; wiped when dropped.
pub struct PrivateKey(pub(super) PrivateKeyDer<'static>);

/// Who may have signed a caller's certificate.
pub struct Authorities(pub(super) RootCertStore);

impl Chain {
    /// The certificates in `pem`, the server's own first.
    ///
    /// # Errors
    /// With what would be right.
    pub fn parse(pem: &[u8]) -> Result<Self, &'static str> {
        let certificates = certificates(pem)?;
        let mut expires = None;
        let mut names = Vec::new();
        for (index, der) in certificates.iter().enumerate() {
            let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "a certificate in the file is broken")?;
            let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
            expires = expires.map_or(Some(end), |earliest: u64| Some(earliest.min(end)));
            if index == 0 {
                names = names_of(&certificate)?;
            }
        }
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(expires.unwrap_or_default());
        Ok(Self { certificates, names, expires })
    }
}

impl PrivateKey {
    /// The first key in `pem`.
    ///
    /// # Errors
    /// With what would be right.
    pub fn parse(pem: &[u8]) -> Result<Self, &'static str> {
        let wanted = "the file holds no private key: PEM is wanted (PKCS #8, SEC 1 or PKCS #1), not encrypted";
        PrivateKeyDer::from_pem_slice(pem).map(Self).map_err(|_| wanted)
    }
}

impl Authorities {
    /// The certificates in `pem`.
    ///
    /// # Errors
    /// With what would be right.
    pub fn parse(pem: &[u8]) -> Result<Self, &'static str> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|_| "a certificate in the file is broken")?;
        }
        Ok(Self(roots))
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let wanted = "the file holds no certificate: PEM is wanted, each between BEGIN CERTIFICATE and END CERTIFICATE";
    let each: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    each.ok().filter(|each| !each.is_empty()).ok_or(wanted)
}

/// Clients look at subject alternative names alone (RFC 9525 section 2), so that one without any is of no use.
fn names_of(certificate: &X509Certificate<'_>) -> Result<Vec<String>, &'static str> {
    let wanted = "the certificate is for no name: one with subject alternative names (DNS or IP) is wanted";
    let alternatives = certificate.subject_alternative_name().map_err(|_| wanted)?.ok_or(wanted)?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => ip(bytes).map(in_url),
        _ => None,
    };
    let names: Vec<_> = alternatives.value.general_names.iter().filter_map(name).collect();
    if names.is_empty() { Err(wanted) } else { Ok(names) }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}
