//! Temporary AWS credentials, kept in the one form in which most askers take them: the JSON of the container-credentials
//! protocol, written once when they come in. The two secrets are parts of that text, so that there is one copy of each.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::{Expiry, Moment, rfc3339};
use crate::model::{IdentityId, RoleArn};

/// Temporary AWS credentials of one user (the "CIP credentials").
pub struct Credentials {
    /// Names the credentials in AWS's own logs; not a secret.
    pub access_key_id: String,
    /// When they came in.
    pub received: Moment,
    /// When AWS stops taking them.
    pub expires: Expiry,
    /// The role, where it was named by us or by STS; never guessed.
    pub role_arn: Option<RoleArn>,
    /// The Cognito identity they belong to.
    pub identity_id: Option<IdentityId>,
    /// The document, and after it whatever of the secrets does not stand in it as it is. Wiped when the last reader is
    /// gone.
    page: Bytes,
    document: u32,
    secret_access_key: Part,
    session_token: Part,
}

/// What credentials are made of.
pub struct Issued {
    /// As in [`Credentials`].
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Zeroizing<String>,
    /// Goes with each signed request.
    pub session_token: Zeroizing<String>,
    /// As in [`Credentials`].
    pub received: Moment,
    /// As in [`Credentials`].
    pub expires: Expiry,
    /// As in [`Credentials`].
    pub role_arn: Option<RoleArn>,
    /// As in [`Credentials`].
    pub identity_id: Option<IdentityId>,
}

/// Where a secret stands in the page.
#[derive(Clone, Copy)]
struct Part {
    start: u32,
    end: u32,
}

/// The document, in the SDKs' spelling. All of them parse whole seconds with `Z`, and some nothing else.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    code: &'static str,
    r#type: &'static str,
    last_updated: String,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<&'a str>,
}

/// Room for the rest of a page beside the secrets, so that writing it leaves no copy behind in a smaller buffer.
const PAGE_BYTES: usize = 4 * 1024;

impl From<Issued> for Credentials {
    fn from(issued: Issued) -> Self {
        let Issued { access_key_id, secret_access_key, session_token, received, expires, role_arn, identity_id } =
            issued;
        let role = role_arn.as_ref();
        let document = Document {
            code: "Success",
            r#type: "AWS-HMAC",
            last_updated: rfc3339(received.wall),
            access_key_id: &access_key_id,
            secret_access_key: &secret_access_key,
            token: &session_token,
            expiration: rfc3339(expires.wall()),
            account_id: role.and_then(RoleArn::account_id),
            role_arn: role.map(RoleArn::as_str),
        };
        // Each secret at most six times as long, should every letter have to be escaped, and once more as it is.
        let room = PAGE_BYTES + 7 * (access_key_id.len() + secret_access_key.len() + session_token.len());
        let mut page = Zeroizing::new(Vec::with_capacity(room));
        // Texts alone are written, into memory: that cannot fail.
        serde_json::to_writer(&mut *page, &document).ok();
        let document = page.len();
        let [secret_access_key, session_token] =
            [&secret_access_key, &session_token].map(|secret| Part::of(&mut page, secret.as_bytes()));
        // Without the room that is left.
        let page = Bytes::from_owner(Zeroizing::new(Box::<[u8]>::from(&**page)));
        let document = place(document);
        Self {
            access_key_id,
            received,
            expires,
            role_arn,
            identity_id,
            page,
            document,
            secret_access_key,
            session_token,
        }
    }
}

impl Credentials {
    /// The whole document, for whoever the credentials are for.
    pub fn expose_document(&self) -> Bytes {
        self.page.slice(..self.document as usize)
    }

    /// Signs requests.
    pub fn expose_secret_access_key(&self) -> &str {
        self.secret_access_key.of_page(&self.page)
    }

    /// Goes with each signed request.
    pub fn expose_session_token(&self) -> &str {
        self.session_token.of_page(&self.page)
    }
}

impl Part {
    /// Finds `secret` in the page, or puts it at its end: in JSON a text may have another spelling.
    fn of(page: &mut Vec<u8>, secret: &[u8]) -> Self {
        let found = page.windows(secret.len().max(1)).position(|window| window == secret);
        let start = found.unwrap_or_else(|| {
            page.extend_from_slice(secret);
            page.len() - secret.len()
        });
        Self { start: place(start), end: place(start + secret.len()) }
    }

    fn of_page(self, page: &[u8]) -> &str {
        let range = Range { start: self.start as usize, end: self.end as usize };
        page.get(range).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Pages are a few thousand bytes long.
fn place(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn credentials(secret: &str, token: &str) -> Credentials {
        let received =
            Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), boot: Duration::ZERO };
        Credentials::from(Issued {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new(secret.to_owned()),
            session_token: Zeroizing::new(token.to_owned()),
            received,
            expires: Expiry::at(received.wall + Duration::from_secs(3_600), received),
            role_arn: Some(RoleArn::new("arn:aws:iam::111122223333:role/r")),
            identity_id: None,
        })
    }

    #[test]
    fn the_document_and_the_parts_say_the_same() {
        let table = [
            ("wJalrXUtnFEMI/K7MDENG", "IQoJb3JpZ2luX2VjE"),
            ("a\"quoted\"one", "with\\backslashes\\"),
            ("\"", "\\\""),
            ("Token", "Success"),
            ("", ""),
        ];
        for (secret, token) in table {
            let held = credentials(secret, token);
            assert_eq!((held.expose_secret_access_key(), held.expose_session_token()), (secret, token));
            let document: serde_json::Value = serde_json::from_slice(&held.expose_document()).unwrap();
            assert_eq!((&document["SecretAccessKey"], &document["Token"]), (&secret.into(), &token.into()));
            assert_eq!(document["Expiration"], "2023-11-14T23:13:20Z");
            assert_eq!((&document["AccountId"], &document["Code"]), (&"111122223333".into(), &"Success".into()));
        }
    }

    #[test]
    fn there_is_one_copy_of_each_secret() {
        let token = "t".repeat(1_200);
        let held = credentials("wJalrXUtnFEMI/K7MDENG", &token);
        assert!(held.page.len() < 1_200 + 400, "{}", held.page.len());
        assert!(size_of::<Credentials>() <= 208, "{}", size_of::<Credentials>());
    }
}
