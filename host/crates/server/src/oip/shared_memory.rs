//! System shared memory: objects under `/dev/shm` that clients register, and then name in place of tensor data.
//!
//! An object is opened once, when it is registered, and read and written through its descriptor. It is never mapped: a
//! client that cuts it short while it is in use gets an error, where a mapping would end the process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind as IoKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{AlignedBytes, Error, ErrorKind, Result};

use super::Region;
use crate::budget::{BodyBudget, Reservation};

/// Where the system keeps the objects.
const FOLDER: &str = "/dev/shm";
/// The most regions at one time: each holds a file descriptor.
const MAX_REGIONS: usize = 256;
/// The longest name of a region and of an object, in bytes: what a file system takes.
const MAX_NAME: usize = 255;
/// Longer data is to be read and written where it delays nobody: at some gigabytes a second, this takes about a
/// millisecond.
pub(crate) const INLINE_BYTES: u64 = 4 << 20;

/// The regions that clients registered.
pub(crate) struct SharedMemory {
    regions: RwLock<BTreeMap<String, Arc<Registered>>>,
    /// What is read counts like the body of a request.
    bodies: Arc<BodyBudget>,
    max_bytes: u64,
}

/// A region as a client registered it.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SharedMemoryRegion)]
pub(crate) struct RegionStatus {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) byte_size: u64,
}

struct Registered {
    key: String,
    offset: u64,
    byte_size: u64,
    object: File,
}

/// What was read, with its place in the budget: given back with the last tensor that shares it.
struct Held {
    data: AlignedBytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.data.as_ref()
    }
}

/// The regions of a GPU's memory: none can be registered, and so there are none.
///
/// # Errors
/// `NotFound` where a name is given.
pub(crate) fn gpu_status(name: Option<&str>) -> Result<[RegionStatus; 0]> {
    match name {
        None => Ok([]),
        Some(_) => Err(unknown_region()),
    }
}

/// Why no region of a GPU's memory is registered.
pub(crate) fn no_gpu_regions() -> Error {
    let message = "the memory of a GPU cannot be registered; send tensors in the request, or in system shared memory";
    Error::new(ErrorKind::Unimplemented, message)
}

fn unknown_region() -> Error {
    let message = "no region of this name is registered";
    Error::new(ErrorKind::NotFound, message).with_field("name")
}

impl SharedMemory {
    /// Makes an empty registry. `max_bytes` is what the budget can hold.
    pub(crate) fn new(bodies: Arc<BodyBudget>, max_bytes: usize) -> Self {
        Self {
            regions: RwLock::default(),
            bodies,
            max_bytes: max_bytes as u64,
        }
    }

    /// Registers a part of an object under a name.
    ///
    /// # Errors
    /// `InvalidArgument` with the field where the name, the key or the size is wrong, or the object is no such object;
    /// `Conflict` where the name is taken; `Unavailable` where there are too many.
    pub(crate) fn register(&self, region: &Region, key: &str) -> Result<()> {
        check_name(&region.name)?;
        let object = open(key)?;
        let end = end(region.offset, region.byte_size).filter(|_| region.byte_size > 0);
        let end = end.ok_or_else(|| {
            Error::invalid(
                "byte_size",
                "use at least 1 byte, and no sum with offset beyond 64 bits",
            )
        })?;
        let size = size(&object).map_err(Error::internal)?;
        if end > size {
            let message = format!(
                "offset and byte_size reach to byte {end}, but the shared memory object has {size} bytes"
            );
            return Err(Error::invalid("byte_size", message));
        }
        let mut regions = self.write_lock();
        if regions.contains_key(&region.name) {
            let message = format!(
                "a region {:?} is registered already; unregister it, or use another name",
                region.name
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_field("name"));
        }
        if regions.len() >= MAX_REGIONS {
            let message = "256 regions are registered, the most there may be; unregister some";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let registered = Registered {
            key: key.to_owned(),
            offset: region.offset,
            byte_size: region.byte_size,
            object,
        };
        regions.insert(region.name.clone(), Arc::new(registered));
        Ok(())
    }

    /// Forgets a region; without a name, all of them. One that is not registered is no error. Requests that use it go on.
    pub(crate) fn unregister(&self, name: Option<&str>) {
        let mut regions = self.write_lock();
        match name {
            Some(name) => drop(regions.remove(name)),
            None => regions.clear(),
        }
    }

    /// The regions, sorted by name; with a name that one.
    ///
    /// # Errors
    /// `NotFound` where a name is given that is not registered.
    pub(crate) fn status(&self, name: Option<&str>) -> Result<Vec<RegionStatus>> {
        let status = |(name, region): (&String, &Arc<Registered>)| RegionStatus {
            name: name.clone(),
            key: region.key.clone(),
            offset: region.offset,
            byte_size: region.byte_size,
        };
        let regions = self.read_lock();
        match name {
            None => Ok(regions.iter().map(status).collect()),
            Some(name) => {
                let found = regions.get_key_value(name).ok_or_else(unknown_region)?;
                Ok(vec![status(found)])
            }
        }
    }

    /// Reads a part of a region. What is longer than [`INLINE_BYTES`] is to be read where it delays nobody.
    ///
    /// # Errors
    /// `InvalidArgument` where the region is not registered, or the part is not inside it or not there any more;
    /// `TooLarge`, `Unavailable` where there is no room for it.
    pub(crate) fn read(&self, region: &Region) -> Result<Bytes> {
        let (registered, at) = self.find(region)?;
        if region.byte_size > self.max_bytes {
            let message = format!(
                "the data is larger than the {} bytes that server.max_bodies_bytes allows",
                self.max_bytes
            );
            return Err(Error::new(ErrorKind::TooLarge, message).with_field(FIELD));
        }
        // Before the memory is set aside: the object may have been cut short meanwhile.
        registered.check(at, region.byte_size)?;
        let len = region.byte_size as usize;
        let mut reservation = self.bodies.reserve();
        reservation.grow_to(len)?;
        let mut data = AlignedBytes::zeroed(len);
        registered
            .object
            .read_exact_at(data.as_mut(), at)
            .map_err(failed)?;
        Ok(Bytes::from_owner(Held {
            data,
            _reservation: reservation,
        }))
    }

    /// Writes to the beginning of a part of a region.
    ///
    /// # Errors
    /// As [`SharedMemory::read`]; `InvalidArgument` where the data is longer than the part.
    pub(crate) fn write(&self, region: &Region, data: &[u8]) -> Result<()> {
        let (registered, at) = self.find(region)?;
        let len = data.len() as u64;
        if len > region.byte_size {
            let message = format!(
                "the output has {len} bytes, but shared_memory_byte_size is {}; give it more room",
                region.byte_size
            );
            return Err(Error::invalid(FIELD, message));
        }
        // Writing beyond the end would make the object longer again.
        registered.check(at, len)?;
        registered.object.write_all_at(data, at).map_err(failed)
    }

    /// The region, and where in its object the part begins.
    fn find(&self, region: &Region) -> Result<(Arc<Registered>, u64)> {
        let registered = self.read_lock().get(&region.name).cloned();
        let Some(registered) = registered else {
            let message = format!(
                "no region {:?} is registered; register it first",
                region.name
            );
            return Err(Error::invalid(FIELD, message));
        };
        let inside =
            end(region.offset, region.byte_size).is_some_and(|end| end <= registered.byte_size);
        if !inside {
            let message = format!(
                "offset {} and size {} are not inside the region {:?}, which has {} bytes",
                region.offset, region.byte_size, region.name, registered.byte_size
            );
            return Err(Error::invalid(FIELD, message));
        }
        // It cannot overflow: both ends are inside the object.
        let at = registered.offset + region.offset;
        Ok((registered, at))
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Registered>>> {
        self.regions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Registered>>> {
        self.regions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error about a region in a request for inference names, until its tensor is known.
const FIELD: &str = "shared_memory_region";

impl Registered {
    fn check(&self, at: u64, len: u64) -> Result<()> {
        let size = size(&self.object).map_err(failed)?;
        if end(at, len).is_some_and(|end| end <= size) {
            return Ok(());
        }
        Err(cut_short())
    }
}

fn end(offset: u64, len: u64) -> Option<u64> {
    // The system counts in signed numbers.
    offset
        .checked_add(len)
        .filter(|end| i64::try_from(*end).is_ok())
}

fn size(object: &File) -> io::Result<u64> {
    object.metadata().map(|metadata| metadata.len())
}

fn check_name(name: &str) -> Result<()> {
    if (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(
        "name",
        "the name of a region is 1 to 255 bytes of text without control characters",
    ))
}

/// Opens an object by its key, which is the name that `shm_open` takes.
fn open(key: &str) -> Result<File> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let plain = (1..=MAX_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|byte| byte == b'/' || byte == 0);
    if !plain {
        return Err(Error::invalid(
            "key",
            "a key is the name of a shared memory object: 1 to 255 bytes, with no slash but a leading one",
        ));
    }
    let object = OpenOptions::new()
        .read(true)
        .write(true)
        // A link could lead anywhere, and opening a pipe would wait for somebody at its other end.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(Path::new(FOLDER).join(name))
        .map_err(|error| {
            let message = match error.kind() {
                IoKind::NotFound => "there is no shared memory object of this key; make it first",
                IoKind::PermissionDenied => {
                    "the server may not read and write the shared memory object of this key"
                }
                _ => "the server cannot open a shared memory object of this key",
            };
            Error::invalid("key", message).with_source(error)
        })?;
    match object.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(object),
        _ => Err(Error::invalid(
            "key",
            "there is no shared memory object of this key, but something else",
        )),
    }
}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        IoKind::UnexpectedEof => cut_short(),
        IoKind::StorageFull => {
            Error::invalid(FIELD, "the system has no memory left for the region")
        }
        _ => Error::internal(error),
    }
}

fn cut_short() -> Error {
    Error::invalid(
        FIELD,
        "the shared memory object is shorter now than when it was registered; register it anew",
    )
}

#[cfg(test)]
mod tests;
