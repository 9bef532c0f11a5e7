//! Texts for AWS made of claims: session names, session tags, session policies. Pure. Knows no profile, no role and no
//! AWS call.
//!
//! A template is text with placeholders, `{{claim-name}}`: double braces, since `${…}` is IAM's own variable, and the
//! configuration's for the environment. A placeholder stands for the claim's text; booleans are `true` and `false`,
//! numbers their JSON text. A claim that is missing, null or of another type is a [`Fault`], never an empty text.
//!
//! What comes out is **injective**: users whose claims differ, by their texts, in a claim of the template never get the
//! same name, tag or policy, whatever they wrote into their attributes. Three rules hold this:
//!
//! - what a name or a tag cannot hold is written `=` and two hex digits for each byte, as quoted-printable has it, and
//!   so is `=` itself; a policy cannot be escaped so, and refuses the value instead;
//! - between two placeholders stands a character that the value before it cannot hold, or only escaped;
//! - what is too long is a fault, save for names, which end in a digest then.

mod fault;
mod name;
mod policy;
mod session_policy;
mod tag;
mod text;

#[cfg(test)]
mod tests;

pub use fault::{Fault, PolicyFault, TemplateFault};
pub use name::NameTemplate;
pub use policy::PolicyTemplate;
pub use session_policy::{check_policy, check_policy_arns, check_policy_size};
pub use tag::{TagTemplate, tag_key_faults};
