//! Shared memory, in which clients on the server's machine put tensors.

use serde_json::{Value, json};

use crate::oip::rest::management::body;
use crate::oip::shared_memory::RegionStatus;
use crate::openapi::operation::{Operation, get, post};

const TAG: &str = "shared memory";
const OPEN_TO: &str =
    "Open to clients of the server's own machine, unless `server.management` says otherwise.";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        status(
            "/v2/systemsharedmemory/status",
            "sharedMemoryRegions",
            &region(),
        )
        .about("The regions of system shared memory", ""),
        status(
            "/v2/systemsharedmemory/region/{region}/status",
            "sharedMemoryRegion",
            &region(),
        )
        .about("A region of system shared memory", ""),
        register(
            "/v2/systemsharedmemory/region/{region}/register",
            "registerSharedMemory",
        )
        .about(
            "Registers a part of a shared memory object under a name",
            OPEN_TO,
        )
        .refuses(&[409]),
        unregister(
            "/v2/systemsharedmemory/region/{region}/unregister",
            "unregisterSharedMemory",
        )
        .about(
            "Forgets a region",
            "One that is not registered is no error. Requests that use it go on.",
        ),
        unregister(
            "/v2/systemsharedmemory/unregister",
            "unregisterAllSharedMemory",
        )
        .about("Forgets every region", "Requests that use them go on."),
        status(
            "/v2/cudasharedmemory/status",
            "gpuMemoryRegions",
            &json!([]),
        )
        .about("The regions of GPU memory", "None can be registered."),
        status(
            "/v2/cudasharedmemory/region/{region}/status",
            "gpuMemoryRegion",
            &json!([]),
        )
        .about("A region of GPU memory", "None can be registered."),
        // Its body is not read.
        post(
            "/v2/cudasharedmemory/region/{region}/register",
            "registerGpuMemory",
        )
        .under(TAG)
        .about(
            "Registers GPU memory",
            "This server does not; tensors go in the request, or in system shared memory.",
        )
        .refuses(&[501]),
        unregister(
            "/v2/cudasharedmemory/region/{region}/unregister",
            "unregisterGpuMemory",
        )
        .about(
            "Forgets a region of GPU memory",
            "There is none, which is no error.",
        ),
        unregister("/v2/cudasharedmemory/unregister", "unregisterAllGpuMemory").about(
            "Forgets every region of GPU memory",
            "There is none, which is no error.",
        ),
    ]
}

fn status(path: &'static str, id: &'static str, example: &Value) -> Operation {
    get(path, id)
        .under(TAG)
        .lists::<RegionStatus>("The regions, sorted by name.", example)
}

fn register(path: &'static str, id: &'static str) -> Operation {
    post(path, id)
        .under(TAG)
        .takes::<body::Register>(&json!({"key": "/weights", "offset": 0, "byte_size": 4096}))
        .answers_nothing("It is registered.")
}

fn unregister(path: &'static str, id: &'static str) -> Operation {
    post(path, id)
        .under(TAG)
        .answers_nothing("Nothing is registered under the name, or at all.")
}

fn region() -> Value {
    json!([{"name": "weights", "key": "/weights", "offset": 0, "byte_size": 4096}])
}
