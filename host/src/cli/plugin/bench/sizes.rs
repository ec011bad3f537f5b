//! Payloads of other sizes.

use std::str::FromStr;

use bytes::Bytes;
use wharf_core::{Payload, Tensor};

use crate::cli::plugin::harness::Work;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(usize);

/// The largest payload that is made: a plugin's memory has little more.
const MOST: usize = 256 << 20;

impl Size {
    pub(super) const DEFAULTS: [Self; 4] = [
        Self(4 << 10),
        Self(64 << 10),
        Self(600 << 10),
        Self(4 << 20),
    ];
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.to_ascii_lowercase().strip_suffix(['k', 'm']) {
            Some(digits) if text.ends_with(['k', 'K']) => (digits.to_owned(), 1 << 10),
            Some(digits) => (digits.to_owned(), 1 << 20),
            None => (text.to_owned(), 1),
        };
        digits
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|bytes| (1..=MOST).contains(bytes))
            .map(Self)
            .ok_or_else(|| "give bytes from 1 to 256m, such as 4096, 64k or 1m".to_owned())
    }
}

/// The bytes that go into a call.
pub(super) fn byte_length(work: &Work) -> usize {
    match work {
        Work::Preprocess(payload) | Work::Postprocess(payload) => payload.byte_len(),
        Work::Router(_) => 0,
        Work::TokenFilter(calls) => calls.iter().flatten().map(|token| token.text.len()).sum(),
        Work::ChunkFilter(_, chunks) => chunks.iter().map(Bytes::len).sum(),
    }
}

/// The same work with tensors of another size; none for what has no size of its own.
pub(super) fn scaled(work: &Work, size: Size) -> Option<Work> {
    let tensors = |payload: &Payload| match payload {
        Payload::Tensors(tensors) if !tensors.is_empty() => {
            let share = size.0 / tensors.len();
            let scaled: Option<Vec<Tensor>> = tensors
                .iter()
                .map(|tensor| repeated(tensor, share))
                .collect();
            scaled.map(Payload::Tensors)
        }
        _ => None,
    };
    match work {
        Work::Preprocess(payload) => tensors(payload).map(Work::Preprocess),
        Work::Postprocess(payload) => tensors(payload).map(Work::Postprocess),
        Work::Router(_) | Work::TokenFilter(_) | Work::ChunkFilter(..) => None,
    }
}

/// The tensor repeated along its last dimension until it has about so many bytes, and at least one element a row.
fn repeated(tensor: &Tensor, bytes: usize) -> Option<Tensor> {
    let element = tensor.datatype().size()?;
    let (last, outer) = tensor.shape().split_last()?;
    let rows = usize::try_from(outer.iter().product::<u64>()).ok()?;
    let row = usize::try_from(*last).ok()?.checked_mul(element)?;
    if rows == 0 || row == 0 {
        return None;
    }
    let wanted = (bytes / rows / element).max(1) * element;
    let mut data = Vec::with_capacity(wanted * rows);
    for old in tensor.data().chunks_exact(row) {
        data.extend(old.iter().copied().cycle().take(wanted));
    }
    let mut shape = outer.to_vec();
    shape.push((wanted / element) as u64);
    Tensor::new(
        tensor.shared_name(),
        tensor.datatype(),
        shape,
        Bytes::from(data),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!("4k".parse(), Ok(Size(4096)));
        assert_eq!("1M".parse(), Ok(Size(1 << 20)));
        assert_eq!("7".parse(), Ok(Size(7)));
        for wrong in ["", "k", "0", "1g", "-1", "9999999m"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tensor_is_repeated_along_its_last_dimension() {
        let tensor = Tensor::from_vec("x", [2, 2], vec![1_i32, 2, 3, 4]).unwrap();
        let work = Work::Preprocess(Payload::Tensors(vec![tensor]));
        let Some(Work::Preprocess(Payload::Tensors(tensors))) = scaled(&work, Size(32)) else {
            panic!("no tensors");
        };
        assert_eq!(**tensors[0].shape(), [2, 4]);
        assert_eq!(
            tensors[0].as_slice::<i32>().unwrap(),
            [1, 2, 1, 2, 3, 4, 3, 4]
        );
        assert_eq!(byte_length(&work), 16);
    }
}
