//! What no honest local caller sends: refused before anything else is looked at. Pure; knows no token.
//!
//! A web page whose name was rebound to 127.0.0.1 sends its own name as Host; a proxy that was talked into a request
//! adds forwarding headers; a browser adds Origin, Referer or Sec-Fetch-Site. An AWS SDK sends none of these.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, Uri, Version};

use crate::error::{Error, Kind};
use crate::server::{Limits, MAX_HEADERS, Settings};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers that only something between the caller and us would add.
const FORWARDING: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-rewrite-url",
];

/// Those of which there are many.
const FORWARDING_FAMILY: &str = "x-forwarded";

/// The names under which a door may be called.
pub(super) struct Guard {
    names: Names,
}

enum Names {
    Any,
    Own {
        names: Vec<String>,
        port: String,
        /// Where to look for the certificate, whose names are the door's too.
        certificate: Option<Arc<Settings>>,
    },
}

impl Guard {
    /// The guard of a door that is bound to `address`: it answers to its own address and, on loopback, to the names
    /// of loopback.
    pub(super) fn new(address: SocketAddr) -> Self {
        let own = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let mut names = vec![own];
        if address.ip().is_loopback() {
            names.extend(["127.0.0.1", "localhost", "[::1]"].map(ToOwned::to_owned));
        }
        Self { names: Names::Own { names, port: address.port().to_string(), certificate: None } }
    }

    /// The same, and it answers to the names of the certificate in force as well: whoever calls by one of them has found
    /// the certificate right for it. Under any port, since what stands before a door often has another one.
    pub(super) fn and_of_certificate(mut self, settings: &Arc<Settings>) -> Self {
        if let Names::Own { certificate, .. } = &mut self.names {
            *certificate = Some(Arc::clone(settings));
        }
        self
    }

    /// The guard of a door that is called by names which it cannot know.
    pub(super) fn of_any_name() -> Self {
        Self { names: Names::Any }
    }

    /// Judges a request's head.
    ///
    /// # Errors
    /// [`Kind::ForbiddenRequest`] for what a browser or a proxy sends, [`Kind::InvalidRequest`] for a request without
    /// exactly one Host, [`Kind::RequestTooLarge`] for too many or too long headers.
    pub(super) fn check(&self, limits: Limits, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        self.check_host(version, uri, headers)?;
        let foreign = |name: &HeaderName| {
            let text = name.as_str();
            name == ORIGIN || name == REFERER || text.starts_with(FORWARDING_FAMILY) || FORWARDING.contains(&text)
        };
        if headers.keys().any(foreign) {
            return Err(forbidden("a browser's or a proxy's header came with the request: call the door directly"));
        }
        if headers.get_all(&SEC_FETCH_SITE).iter().any(|site| site != "none") {
            return Err(forbidden("the request comes from a web page (Sec-Fetch-Site)"));
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > limits.header_bytes || headers.len() > MAX_HEADERS {
            return Err(Error::new(
                Kind::RequestTooLarge,
                "the headers are larger than limits.header_bytes, or over 64",
            ));
        }
        Ok(())
    }

    /// HTTP/1.1 has exactly one Host (RFC 9112 section 3.2); HTTP/2 has `:authority`, which hyper puts into the URI.
    fn check_host(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() || (version < Version::HTTP_2 && host.is_none()) {
            return Err(Error::new(Kind::InvalidRequest, "the request has not exactly one Host"));
        }
        let named = host.into_iter().map(|host| host.to_str().unwrap_or_default());
        let target = uri.authority().map(http::uri::Authority::as_str);
        if named.chain(target).all(|name| self.is_ours(name)) {
            Ok(())
        } else {
            Err(forbidden(
                "Host is not an address of this door, or a name of its certificate: use http://127.0.0.1:PORT",
            ))
        }
    }

    /// One SDK leaves the port out, so that it may be absent; another port is somebody else's.
    fn is_ours(&self, authority: &str) -> bool {
        let Names::Own { names, port: own_port, certificate } = &self.names else { return true };
        let own = |name: &String| {
            authority.len() >= name.len()
                && authority.is_char_boundary(name.len())
                && authority[..name.len()].eq_ignore_ascii_case(name)
                && match authority[name.len()..].strip_prefix(':') {
                    Some(port) => port == own_port,
                    None => authority.len() == name.len(),
                }
        };
        names.iter().any(own) || certificate.as_ref().is_some_and(|settings| is_of_certificate(settings, authority))
    }
}

fn is_of_certificate(settings: &Settings, authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let tls = settings.now().tls.clone();
    port.parse::<u16>().is_ok() && tls.is_some_and(|tls| tls.bears(host))
}

fn forbidden(cause: &'static str) -> Error {
    Error::new(Kind::ForbiddenRequest, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(SocketAddr::from(([127, 0, 0, 1], 2870)))
    }

    fn kind(target: &str, headers: &[(&str, &str)]) -> Option<Kind> {
        let map =
            headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let limits = Limits { connections: 1, header_bytes: 1_000 };
        guard().check(limits, Version::HTTP_11, &target.parse().unwrap(), &map).err().map(|error| error.kind())
    }

    #[test]
    fn own_names_pass() {
        for host in ["127.0.0.1:2870", "127.0.0.1", "localhost:2870", "LocalHost", "[::1]:2870", "[::1]"] {
            assert_eq!(kind("/v1/credentials", &[("host", host)]), None, "{host}");
        }
        assert_eq!(kind("http://127.0.0.1:2870/v1/credentials", &[("host", "127.0.0.1:2870")]), None);
        assert_eq!(kind("/", &[("host", "localhost"), ("sec-fetch-site", "none")]), None);
    }

    #[test]
    fn other_names_do_not() {
        for host in [
            "evil.example",
            "evil.example:2870",
            "127.0.0.1.nip.io",
            "127.0.0.1.nip.io:2870",
            "localhost.",
            "localhost.:2870",
            "localhost.evil.example",
            "127.0.0.1:80",
            "127.0.0.1:",
            "127.0.0.1:02870",
            "127.0.0.1:2870:2870",
            "127.1",
            "127.1:2870",
            "2130706433",
            "0x7f000001",
            "[::ffff:127.0.0.1]",
            "user@127.0.0.1",
            "127.0.0.1 ",
            "",
        ] {
            assert_eq!(kind("/v1/credentials", &[("host", host)]), Some(Kind::ForbiddenRequest), "{host}");
        }
        let target = "http://evil.example/v1/credentials";
        assert_eq!(kind(target, &[("host", "127.0.0.1:2870")]), Some(Kind::ForbiddenRequest));
    }

    #[test]
    fn one_host_exactly() {
        assert_eq!(kind("/", &[]), Some(Kind::InvalidRequest));
        assert_eq!(kind("/", &[("host", "localhost"), ("host", "localhost")]), Some(Kind::InvalidRequest));
    }

    #[test]
    fn browsers_and_proxies_are_refused() {
        let others = ["x-forwarded", "x-forwarded-for", "x-forwarded-prefix", "origin", "referer", "sec-fetch-site"];
        for name in FORWARDING.iter().chain(&others) {
            assert_eq!(kind("/", &[("host", "localhost"), (name, "x")]), Some(Kind::ForbiddenRequest), "{name}");
        }
    }

    #[test]
    fn headers_have_a_size() {
        let long = "x".repeat(1_000);
        assert_eq!(kind("/", &[("host", "localhost"), ("x", &long)]), Some(Kind::RequestTooLarge));
    }
}
