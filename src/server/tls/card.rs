//! What a caller showed when it came in, kept for as long as its connection lasts: another configuration may ask for
//! more.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::server::TlsStream;

use super::Tls;
use crate::error::{Error, Kind};
use crate::server::House;

/// The certificates of one connection's caller; none if it was not asked.
pub(in crate::server) struct Card {
    chain: Vec<CertificateDer<'static>>,
    /// By what they were last found right.
    found_right_by: ArcSwap<Tls>,
}

impl Card {
    /// What was shown on `stream`, and was right for `tls`.
    pub(super) fn shown(stream: &TlsStream<TcpStream>, tls: Arc<Tls>) -> Self {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Self {
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            found_right_by: ArcSwap::new(tls),
        }
    }

    /// Whether they are right for what is in force now; judged once for each configuration, and asked with each request.
    ///
    /// # Errors
    /// [`Kind::ForbiddenRequest`] for one whom a reload has struck out.
    pub(in crate::server) fn check(&self, house: &House) -> Result<(), Error> {
        let Some(tls) = house.settings.now().tls.clone() else { return Ok(()) };
        if Arc::ptr_eq(&tls, &self.found_right_by.load()) {
            return Ok(());
        }
        if !self.is_right(&tls, house.clock.now().wall) {
            let cause = "the caller's certificate is none that server.tls.client_ca_file admits any more";
            return Err(Error::new(Kind::ForbiddenRequest, cause));
        }
        self.found_right_by.store(tls);
        Ok(())
    }

    fn is_right(&self, tls: &Tls, now: SystemTime) -> bool {
        let Some(callers) = &tls.callers else { return true };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let own = self.chain.split_first();
        own.is_some_and(|(own, rest)| callers.verify_client_cert(own, rest, UnixTime::since_unix_epoch(now)).is_ok())
    }
}
