//! The generated gRPC interface; `proto/cupbearer/v1/broker.proto` is its documentation.

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
