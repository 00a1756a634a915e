//! The messages and services of the Open Inference Protocol with Triton's extensions, Triton's model
//! configuration, and TorchServe's gRPC. Generated from the `.proto` files beside this crate's sources.

pub mod codec;

/// Every message and service, described: for reflection, and for the text and JSON forms of messages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The Open Inference Protocol and Triton's model configuration.
pub mod inference {
    #![expect(
        clippy::pedantic,
        clippy::allow_attributes,
        missing_docs,
        reason = "generated; the .proto files say what things are"
    )]
    tonic::include_proto!("inference");
}

/// TorchServe's two services.
pub use org::pytorch::serve::grpc as torchserve;

/// Where TorchServe's packages lie: what is generated looks for its neighbours by them.
mod org {
    pub(crate) mod pytorch {
        pub(crate) mod serve {
            pub mod grpc {
                //! TorchServe's gRPC.

                /// Predictions.
                pub mod inference {
                    #![expect(
                        clippy::pedantic,
                        clippy::allow_attributes,
                        missing_docs,
                        reason = "generated; the .proto files say what things are"
                    )]
                    tonic::include_proto!("org.pytorch.serve.grpc.inference");
                }
                /// Models and workers.
                pub mod management {
                    #![expect(
                        clippy::pedantic,
                        clippy::allow_attributes,
                        missing_docs,
                        reason = "generated; the .proto files say what things are"
                    )]
                    tonic::include_proto!("org.pytorch.serve.grpc.management");
                }
            }
        }
    }
}

/// What gRPC calls say of themselves in messages.
pub mod google {
    /// The error model.
    pub mod rpc {
        #![expect(missing_docs, reason = "generated; the .proto files say what things are")]
        tonic::include_proto!("google.rpc");
    }
}
