//! The messages of the Open Inference Protocol over gRPC, and a client and a server of its service, as they are generated
//! from `proto/inference.proto`. The names are the protocol's own.

#![expect(
    clippy::allow_attributes,
    clippy::doc_markdown,
    reason = "it is generated"
)]

tonic::include_proto!("inference");

/// The descriptors of the messages and the service, as a `FileDescriptorSet` in its encoding.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
