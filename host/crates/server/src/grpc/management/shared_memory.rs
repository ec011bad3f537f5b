//! Regions of shared memory as messages. Those of a GPU cannot be registered, and so there are none.

use bytes::Bytes;
use wharf_core::{Action, Result};

use super::read;
use crate::client::Asker;
use crate::grpc::answer::Parts;
use crate::grpc::method::Method;
use crate::grpc::reply;
use crate::inference::system_shared_memory_status_response::RegionStatus;
use crate::inference::{
    CudaSharedMemoryStatusRequest, CudaSharedMemoryStatusResponse,
    CudaSharedMemoryUnregisterRequest, CudaSharedMemoryUnregisterResponse,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse,
    SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse,
    SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse,
};
use crate::oip::Region;
use crate::oip::shared_memory::{gpu_status, no_gpu_regions};

/// Answers a call about shared memory.
///
/// # Errors
/// What the call is refused with.
pub(super) fn manage(asker: Asker<'_>, method: Method, message: Bytes) -> Result<Parts> {
    let app = asker.app;
    match method {
        Method::SystemSharedMemoryStatus => {
            asker.may(Action::ReadModels, None)?;
            let request: SystemSharedMemoryStatusRequest = read(message)?;
            let regions = app.shared_memory_of(asker.client);
            let regions = regions.status(named(&request.name))?.into_iter();
            let regions = regions.map(|region| {
                let status = RegionStatus {
                    name: region.name.clone(),
                    key: region.key,
                    offset: region.offset,
                    byte_size: region.byte_size,
                };
                (region.name, status)
            });
            reply::message(&SystemSharedMemoryStatusResponse {
                regions: regions.collect(),
            })
        }
        Method::SystemSharedMemoryRegister => {
            asker.may(Action::WriteServer, None)?;
            let request: SystemSharedMemoryRegisterRequest = read(message)?;
            let region = Region {
                name: request.name,
                offset: request.offset,
                byte_size: request.byte_size,
            };
            app.shared_memory.register(&region, &request.key)?;
            reply::message(&SystemSharedMemoryRegisterResponse {})
        }
        Method::SystemSharedMemoryUnregister => {
            asker.may(Action::WriteServer, None)?;
            let request: SystemSharedMemoryUnregisterRequest = read(message)?;
            app.shared_memory.unregister(named(&request.name));
            reply::message(&SystemSharedMemoryUnregisterResponse {})
        }
        Method::CudaSharedMemoryStatus => {
            let CudaSharedMemoryStatusRequest { name } = read(message)?;
            let [] = gpu_status(named(&name))?;
            reply::message(&CudaSharedMemoryStatusResponse::default())
        }
        // One that is not registered is no error, and none is.
        Method::CudaSharedMemoryUnregister => {
            let CudaSharedMemoryUnregisterRequest { name: _ } = read(message)?;
            reply::message(&CudaSharedMemoryUnregisterResponse {})
        }
        _ => Err(no_gpu_regions()),
    }
}

/// Without a name, all are meant.
fn named(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}
