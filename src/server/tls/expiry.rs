//! How long the doors' certificate is still good: a gauge, and lines in the log before it is too late.

use std::time::{Duration, SystemTime};

use tracing::{error, warn};

use crate::clock::rfc3339;
use crate::server::{House, stopping};

/// From so long before its end on, it should have been renewed: the renewers of Kubernetes and of ACME do so at a third of
/// its life.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// How often it is looked at; a renewal is seen by the reload, and this tells no later than that.
const PERIOD: Duration = Duration::from_secs(1);

/// How often it is told.
const AGAIN: Duration = Duration::from_secs(86_400);

/// Sets the gauge to what is in force.
pub(in crate::server) fn observe(house: &House) {
    let expires = house.settings.now().tls.as_ref().map(|tls| tls.expires);
    house.metrics.certificate_expires(expires);
}

/// Tells of a certificate that expires soon or has expired, at once and then once a day, until everything is to stop.
pub(in crate::server) async fn watch(house: &House) {
    let mut phase = house.phase.clone();
    let mut told: Option<(SystemTime, Duration)> = None;
    loop {
        let (now, tls) = (house.clock.now(), house.settings.now().tls.clone());
        if let Some(expires) = tls.map(|tls| tls.expires) {
            let is_new = told.is_none_or(|(told, at)| told != expires || now.boot.saturating_sub(at) >= AGAIN);
            if now.wall + SOON > expires && is_new {
                told = Some((expires, now.boot));
                tell(now.wall, expires);
            }
        }
        if tokio::time::timeout(PERIOD, stopping(&mut phase)).await.is_ok() {
            return;
        }
    }
}

fn tell(now: SystemTime, expires: SystemTime) {
    let at = rfc3339(expires);
    if expires <= now {
        error!(expired = at, "the certificate of server.tls has expired: clients refuse it; replace the files");
    } else {
        warn!(
            expires = at,
            "the certificate of server.tls expires in less than 7 days: renew it, a restart is not needed"
        );
    }
}
