//! Stubs generated from the protos beside this file, and nothing else.
//!
//! The comments in the `.proto` files are the reference: each field's gives
//! its unit and what its absence means.

/// What every auditable component serves.
pub mod monitorable {
    /// Version 1 of `monitorable`.
    pub mod v1 {
        #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
        tonic::include_proto!("monitorable.v1");
    }
}

/// How agents hand events to the bridge.
pub mod bridge {
    /// Version 1 of `bridge`.
    pub mod v1 {
        #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
        tonic::include_proto!("bridge.v1");
    }
}

/// The auditor and where witnesses report.
pub mod monitor {
    /// Version 1 of `monitor`.
    pub mod v1 {
        #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
        tonic::include_proto!("monitor.v1");
    }
}

/// The standard health protocol.
pub mod grpc_health {
    /// Version 1 of `grpc.health`.
    pub mod v1 {
        #![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
        tonic::include_proto!("grpc.health.v1");
    }
}

/// The encoded `FileDescriptorSet` of every proto here, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
