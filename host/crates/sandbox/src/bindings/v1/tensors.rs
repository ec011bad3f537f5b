//! The resource `tensor`.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentType, Lift, LinkerInstance, Lower, Resource, WasmList, WasmStr,
};
use wharf_core::{Datatype, Element, Shape, Tensor, TensorError};

use super::convert::{invalid_tensor, range};
use super::types;
use crate::bindings::lent::Lent;
use crate::guest::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;
type Made = (Result<Resource<Tensor>, types::Error>,);

pub(super) fn link(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap("[static]tensor.from-bytes", from_bytes)?;
    types.func_wrap("[static]tensor.from-fp32", from_vec::<f32>)?;
    types.func_wrap("[static]tensor.from-fp64", from_vec::<f64>)?;
    types.func_wrap("[static]tensor.from-int32", from_vec::<i32>)?;
    types.func_wrap("[static]tensor.from-int64", from_vec::<i64>)?;
    types.func_wrap("[static]tensor.from-elements", from_elements)?;

    types.func_wrap("[method]tensor.name", |store: Store<'_>, (tensor,)| {
        Ok((store.data().tensor(&tensor)?.shared_name(),))
    })?;
    types.func_wrap("[method]tensor.datatype", |store: Store<'_>, (tensor,)| {
        let datatype: types::Datatype = store.data().tensor(&tensor)?.datatype().into();
        Ok((datatype,))
    })?;
    types.func_wrap("[method]tensor.shape", |store: Store<'_>, (tensor,)| {
        Ok((store.data().tensor(&tensor)?.shape().to_vec(),))
    })?;
    types.func_wrap(
        "[method]tensor.byte-length",
        |store: Store<'_>, (tensor,)| Ok((store.data().tensor(&tensor)?.data().len() as u64,)),
    )?;

    types.func_wrap("[method]tensor.read", |store: Store<'_>, (tensor,)| {
        Ok((Lent::<u8>::new(
            store.data().tensor(&tensor)?.data().clone(),
        ),))
    })?;
    types.func_wrap(
        "[method]tensor.read-range",
        |store: Store<'_>, (tensor, offset, length)| {
            let data = store.data().tensor(&tensor)?.data();
            Ok((range(data, offset, length).map(Lent::<u8>::new),))
        },
    )?;
    types.func_wrap("[method]tensor.read-fp32", read::<f32>)?;
    types.func_wrap("[method]tensor.read-fp64", read::<f64>)?;
    types.func_wrap("[method]tensor.read-int32", read::<i32>)?;
    types.func_wrap("[method]tensor.read-int64", read::<i64>)?;
    types.func_wrap("[method]tensor.read-elements", read_elements)?;

    types.func_wrap(
        "[method]tensor.with-name",
        |mut store: Store<'_>, (tensor, name): (Resource<Tensor>, WasmStr)| {
            let name: Arc<str> = name.to_str(&store)?.into();
            let renamed = store.data().tensor(&tensor)?.with_name(name);
            Ok((store.data_mut().keep(renamed)?,))
        },
    )?;
    types.func_wrap(
        "[method]tensor.with-shape",
        |mut store: Store<'_>, (tensor, shape): (Resource<Tensor>, WasmList<u64>)| {
            let shape = Shape::from(shape.as_le_slice(&store));
            let tensor = store.data().tensor(&tensor)?;
            let name = tensor.shared_name();
            let reshaped = tensor.with_shape(shape);
            made(&mut store, &name, reshaped)
        },
    )
}

fn from_bytes(
    mut store: Store<'_>,
    (name, datatype, shape, data): (WasmStr, types::Datatype, WasmList<u64>, Vec<u8>),
) -> wasmtime::Result<Made> {
    let (name, shape) = head(&store, &name, &shape)?;
    let tensor = Tensor::new(Arc::clone(&name), datatype.into(), shape, Bytes::from(data));
    made_of_guest_data(&mut store, &name, tensor)
}

/// The vector is the one copy out of the guest's memory, and becomes the tensor's data.
fn from_vec<T: Element + Lift>(
    mut store: Store<'_>,
    (name, shape, data): (WasmStr, WasmList<u64>, Vec<T>),
) -> wasmtime::Result<Made> {
    let (name, shape) = head(&store, &name, &shape)?;
    let tensor = Tensor::from_vec(Arc::clone(&name), shape, data);
    made_of_guest_data(&mut store, &name, tensor)
}

fn from_elements(
    mut store: Store<'_>,
    (name, shape, elements): (WasmStr, WasmList<u64>, WasmList<WasmList<u8>>),
) -> wasmtime::Result<Made> {
    let (name, shape) = head(&store, &name, &shape)?;
    let elements = elements
        .iter(&mut store)?
        .collect::<wasmtime::Result<Vec<_>>>()?;
    let elements: Vec<&[u8]> = elements
        .iter()
        .map(|element| element.as_le_slice(&store))
        .collect();
    let tensor = Tensor::from_elements(Arc::clone(&name), shape, &elements);
    made_of_guest_data(&mut store, &name, tensor)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the linker gives host functions the store by value"
)]
fn read<T: Element + ComponentType + Lower>(
    store: Store<'_>,
    (tensor,): (Resource<Tensor>,),
) -> wasmtime::Result<(Result<Lent<T>, types::Error>,)> {
    let tensor = store.data().tensor(&tensor)?;
    Ok((of_datatype(tensor, T::DATATYPE).map(|()| Lent::new(tensor.data().clone())),))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the linker gives host functions the store by value"
)]
fn read_elements(
    store: Store<'_>,
    (tensor,): (Resource<Tensor>,),
) -> wasmtime::Result<(Result<Vec<Lent<u8>>, types::Error>,)> {
    let tensor = store.data().tensor(&tensor)?;
    let elements = tensor
        .elements()
        .map_err(|error| invalid_tensor(tensor.name(), &error))
        .map(|elements| {
            elements
                .map(|element| Lent::new(tensor.data().slice_ref(element)))
                .collect()
        });
    Ok((elements,))
}

fn of_datatype(tensor: &Tensor, expected: Datatype) -> Result<(), types::Error> {
    let actual = tensor.datatype();
    if actual == expected {
        Ok(())
    } else {
        let error = TensorError::Datatype { expected, actual };
        Err(invalid_tensor(tensor.name(), &error))
    }
}

/// The name and the shape of a tensor to be made.
fn head(
    store: &Store<'_>,
    name: &WasmStr,
    shape: &WasmList<u64>,
) -> wasmtime::Result<(Arc<str>, Shape)> {
    let name = name.to_str(store)?.into();
    Ok((name, Shape::from(shape.as_le_slice(store))))
}

/// As [`made`], of data that the guest made: it counts against the instance's memory.
fn made_of_guest_data(
    store: &mut Store<'_>,
    name: &str,
    tensor: Result<Tensor, TensorError>,
) -> wasmtime::Result<Made> {
    let counted = match tensor {
        Ok(tensor) => {
            let data = store.data().growth.hold(tensor.data().clone())?;
            Tensor::new(
                tensor.shared_name(),
                tensor.datatype(),
                tensor.shape().clone(),
                data,
            )
        }
        Err(error) => Err(error),
    };
    made(store, name, counted)
}

fn made(
    store: &mut Store<'_>,
    name: &str,
    tensor: Result<Tensor, TensorError>,
) -> wasmtime::Result<Made> {
    match tensor {
        Ok(tensor) => Ok((Ok(store.data_mut().keep(tensor)?),)),
        Err(error) => Ok((Err(invalid_tensor(name, &error)),)),
    }
}
