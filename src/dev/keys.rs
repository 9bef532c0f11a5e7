//! RSA keys that sign and verify JSON Web Tokens (RS256, RS512). Knows no claim but as JSON.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaEncoding, RsaParameters,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The emulator's keys could not be made or used: the system's cryptography failed.
#[derive(Debug, thiserror::Error)]
#[error("the emulator's keys could not be made or used")]
pub struct KeyError;

/// The signature of user pool tokens, and that of identity pool tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs512,
}

impl Algorithm {
    /// As token headers and key sets call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs512 => "RS512",
        }
    }

    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs512 => &RSA_PKCS1_SHA512,
        }
    }

    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// One RSA-2048 key pair, for one algorithm.
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    pair: KeyPair,
    public: ParsedPublicKey,
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl SigningKey {
    /// Makes a key pair; takes a tenth of a second or so.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        let der = pair.public_key().as_ref();
        let public = ParsedPublicKey::new(algorithm.parameters(), der).map_err(|_| KeyError)?;
        let (modulus, exponent) = public_numbers(der).ok_or(KeyError)?;
        // A digest of the public key in standard base64: 44 characters with `/`, `+` and `=`, as Cognito's own ids.
        let kid = STANDARD.encode(digest::digest(&digest::SHA256, der));
        Ok(Self { algorithm, public, kid, modulus, exponent, pair })
    }

    /// The same key under another name.
    pub(crate) fn named(self, kid: impl Into<String>) -> Self {
        Self { kid: kid.into(), ..self }
    }

    /// The key's name in token headers and in the key set.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a JSON Web Key, with the members that Cognito's have.
    pub(crate) fn jwk(&self) -> Value {
        json!({
            "alg": self.algorithm.name(),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "kid": self.kid,
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "use": "sig",
        })
    }

    /// A token with these claims, signed.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.sign_under(&json!({"kid": self.kid, "alg": self.algorithm.name()}), claims)
    }

    /// A token with this header too; the signature is by the key's algorithm whatever the header says.
    pub(crate) fn sign_under(&self, header: &Value, claims: &Value) -> Result<String, KeyError> {
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(self.algorithm.encoding(), &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| KeyError)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Modulus and exponent out of an `RSAPublicKey` (RFC 8017, appendix A.1.1), big-endian without leading zeros.
fn public_numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (0x30, body, _) = element(der)? else {
        return None;
    };
    let (0x02, modulus, rest) = element(body)? else {
        return None;
    };
    let (0x02, exponent, _) = element(rest)? else {
        return None;
    };
    let unsigned = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some((unsigned(modulus), unsigned(exponent)))
}

/// Tag, content and what follows of the first DER element; lengths up to two bytes, enough for any RSA key here.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = match *der.get(1..)? {
        [length @ 0..=0x7f, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*der.first()?, content, rest))
}
