//! `grpc.reflection`: the interface, told to tools such as grpcurl. It holds no secret, but nobody needs it in production.

use tonic::service::Routes;
use tonic_reflection::server::Builder;
use tracing::error;

use super::MESSAGE_BYTES;
use crate::server::proto::INTERFACE;

/// What the paths of both its versions begin with.
pub(super) const PREFIX: &str = "/grpc.reflection.";

/// `routes` with both versions of it: tools still ask for v1alpha.
pub(super) fn add(routes: Routes) -> Routes {
    let files = || {
        let health = tonic_health::pb::FILE_DESCRIPTOR_SET;
        Builder::configure()
            .register_encoded_file_descriptor_set(INTERFACE)
            .register_encoded_file_descriptor_set(health)
    };
    match (files().build_v1(), files().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes
            .add_service(v1.max_decoding_message_size(MESSAGE_BYTES))
            .add_service(v1alpha.max_decoding_message_size(MESSAGE_BYTES)),
        (Err(error), _) | (_, Err(error)) => {
            error!(%error, "the interface cannot be told by reflection: this is a bug");
            routes
        }
    }
}
