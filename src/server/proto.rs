//! The generated gRPC interface; `proto/cupbearer/v1/broker.proto` is its documentation.

use std::fmt;

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    tonic::include_proto!("cupbearer.v1");
}

/// The interface as a `google.protobuf.FileDescriptorSet`, with what it is made of.
pub(super) const INTERFACE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/interface.bin"));

pub use generated::credential_broker_client::CredentialBrokerClient;
pub use generated::credential_broker_server::{CredentialBroker, CredentialBrokerServer};
pub use generated::{
    CloseSessionRequest, CloseSessionResponse, Credentials, ExplainRoleRequest, ExplainRoleResponse,
    GetCredentialsRequest, GetCredentialsResponse, OpenSessionRequest, OpenSessionResponse, UpdateSessionRequest,
    UpdateSessionResponse, WatchCredentialsRequest, WatchCredentialsResponse,
};

/// Names the credentials; the rest is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key_id, expiration, role_arn, .. } = self;
        let mut told = f.debug_struct("Credentials");
        told.field("access_key_id", access_key_id).field("expiration", expiration).field("role_arn", role_arn);
        told.finish_non_exhaustive()
    }
}

/// Without the refresh token.
impl fmt::Debug for OpenSessionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { profile, role, .. } = self;
        f.debug_struct("OpenSessionRequest").field("profile", profile).field("role", role).finish_non_exhaustive()
    }
}

/// Without the session's token.
impl fmt::Debug for OpenSessionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session_id, expires_at, .. } = self;
        let mut told = f.debug_struct("OpenSessionResponse");
        told.field("session_id", session_id).field("expires_at", expires_at).finish_non_exhaustive()
    }
}

/// Without the refresh token.
impl fmt::Debug for UpdateSessionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateSessionRequest").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}
