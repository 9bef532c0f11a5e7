//! `server.tls`: the files that the doors' TLS is made of. Knows no connection.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::faults::Found;
use crate::config::field::Field;
use crate::config::{ReadFile, raw};
use crate::server::tls::{Authorities, Chain, PrivateKey, Tls};

/// The names of the files.
#[derive(Clone)]
pub(super) struct TlsFiles {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) client_ca: Option<String>,
}

/// What the doors show and ask for, and where it is from; none if it is not wanted, or at fault.
pub(super) fn resolve(typed: Field<raw::Tls>, read: ReadFile<'_>, found: &Found) -> Field<(Arc<Tls>, TlsFiles)> {
    typed.and_then(|typed, _| {
        let key_place = typed.key_file.place.clone();
        let cert = typed.cert_file.judged(found, |path| taken(path, read, Chain::parse));
        let key = typed.key_file.judged(found, |path| taken(path, read, PrivateKey::parse));
        let client_ca = typed.client_ca_file.judged(found, |path| taken(path, read, Authorities::parse));
        let is_sound = client_ca.is_absent() || client_ca.is_given();
        let cert = cert.required(found, "a PEM file: the server's certificate, then those that signed it");
        let key = key.required(found, "a PEM file: the certificate's private key");
        let ((cert, chain), (key, private)) = cert.zip(key)?;
        let (client_ca, authorities) = client_ca.given().unzip();
        let tls = Tls::new(chain, private, authorities).map_err(|fault| found.tell(&key_place, fault)).ok()?;
        is_sound.then(|| (Arc::new(tls), TlsFiles { cert, key, client_ca }))
    })
}

/// The name of a file, and what it holds. Its content is told by no fault.
fn taken<T>(
    path: String,
    read: ReadFile<'_>,
    parse: fn(&[u8]) -> Result<T, &'static str>,
) -> Result<(String, T), String> {
    let content = read(Path::new(&path)).map_err(|error| format!("the file cannot be read: {error}"))?;
    let parsed = parse(&Zeroizing::new(content))?;
    Ok((path, parsed))
}
