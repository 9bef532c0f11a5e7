//! SHA-256, of one text or of several. Knows nothing of what they mean.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of something, used as an identity.
pub type Digest = [u8; 32];

/// The digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

/// The digest of `parts`, each with its length before it: no two different lists have the same one, wherever a letter
/// may have moved from one part to its neighbour.
pub fn of_parts(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    finish(context)
}

/// The digest that `context` has come to.
pub fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
