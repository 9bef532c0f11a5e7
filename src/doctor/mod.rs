//! What has to be so in AWS, and around an application, for a configuration to work. Pure; knows no socket and no file.
//!
//! `needs` writes the documents that a configuration needs; `trust`, `permissions`, `pool` and `quotas` judge what AWS
//! has; `workload`, `pod` and `task` look for the silent wrong identity. All of them tell [`Finding`]s.

mod document;
mod finding;
pub mod needs;
mod permissions;
mod pod;
mod pool;
mod quotas;
mod sources;
mod task;
mod trust;
mod workload;

pub use document::Document;
pub use finding::{Finding, Severity};
pub use permissions::permissions;
pub use pod::pods;
pub use pool::{PoolDocuments, pool};
pub use quotas::quotas;
pub use sources::{COMPETING, Effect, SOURCES, Source};
pub use task::task;
pub use trust::trust;
pub use workload::environment;
