//! The calls of the services, by their paths. A path that a client made up is none of them.

macro_rules! methods {
    ($($name:ident = $service:literal $method:literal,)+) => {
        /// A call of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method {
            $($name,)+
        }

        impl Method {
            /// The call of a path.
            pub(super) fn of(path: &str) -> Option<Self> {
                match path {
                    $(concat!("/", $service, "/", $method) => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name for metrics and traces.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($service, "/", $method),)+
                }
            }
        }
    };
}

methods! {
    ModelInfer = "inference.GRPCInferenceService" "ModelInfer",
    ModelStreamInfer = "inference.GRPCInferenceService" "ModelStreamInfer",
    ServerLive = "inference.GRPCInferenceService" "ServerLive",
    ServerReady = "inference.GRPCInferenceService" "ServerReady",
    ModelReady = "inference.GRPCInferenceService" "ModelReady",
    ServerMetadata = "inference.GRPCInferenceService" "ServerMetadata",
    ModelMetadata = "inference.GRPCInferenceService" "ModelMetadata",
    ModelConfig = "inference.GRPCInferenceService" "ModelConfig",
    ModelStatistics = "inference.GRPCInferenceService" "ModelStatistics",
    RepositoryIndex = "inference.GRPCInferenceService" "RepositoryIndex",
    RepositoryModelLoad = "inference.GRPCInferenceService" "RepositoryModelLoad",
    RepositoryModelUnload = "inference.GRPCInferenceService" "RepositoryModelUnload",
    SystemSharedMemoryStatus = "inference.GRPCInferenceService" "SystemSharedMemoryStatus",
    SystemSharedMemoryRegister = "inference.GRPCInferenceService" "SystemSharedMemoryRegister",
    SystemSharedMemoryUnregister = "inference.GRPCInferenceService" "SystemSharedMemoryUnregister",
    CudaSharedMemoryStatus = "inference.GRPCInferenceService" "CudaSharedMemoryStatus",
    CudaSharedMemoryRegister = "inference.GRPCInferenceService" "CudaSharedMemoryRegister",
    CudaSharedMemoryUnregister = "inference.GRPCInferenceService" "CudaSharedMemoryUnregister",
    TraceSetting = "inference.GRPCInferenceService" "TraceSetting",
    LogSettings = "inference.GRPCInferenceService" "LogSettings",
    HealthCheck = "grpc.health.v1.Health" "Check",
    HealthWatch = "grpc.health.v1.Health" "Watch",
    Reflection = "grpc.reflection.v1.ServerReflection" "ServerReflectionInfo",
    ReflectionAlpha = "grpc.reflection.v1alpha.ServerReflection" "ServerReflectionInfo",
}

impl Method {
    /// Whether everybody may call it: what says that a server is here and how it is, and nothing of what it serves.
    pub(super) fn is_open(self) -> bool {
        matches!(
            self,
            Self::ServerLive
                | Self::ServerReady
                | Self::ServerMetadata
                | Self::HealthCheck
                | Self::HealthWatch
                | Self::Reflection
                | Self::ReflectionAlpha
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let path = "/inference.GRPCInferenceService/ModelInfer";
        assert_eq!(Method::of(path), Some(Method::ModelInfer));
        assert_eq!(format!("/{}", Method::ModelInfer.name()), path);
        for path in ["", "/", "/inference.GRPCInferenceService/", "/v2"] {
            assert_eq!(Method::of(path), None, "{path}");
        }
    }
}
