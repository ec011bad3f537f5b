//! Joins the inputs of several requests by rows, and splits the outputs.

use bytes::Bytes;
use wharf_core::{AlignedBytes, Datatype, Shape, Tensor};

/// The rows of a request whose inputs may be joined with others'; none where they have different numbers of rows.
pub(super) fn rows(inputs: &[Tensor]) -> Option<u64> {
    let rows = inputs.first()?.shape().first().copied()?;
    inputs
        .iter()
        .all(|tensor| tensor.shape().first() == Some(&rows))
        .then_some(rows)
}

/// Says whether two requests that have rows differ in these alone. Names and datatypes are the model's.
pub(super) fn fit(one: &[Tensor], other: &[Tensor]) -> bool {
    one.iter()
        .zip(other)
        .all(|(one, other)| one.shape().get(1..) == other.shape().get(1..))
}

/// Joins requests that fit; none where the shape would overflow.
pub(super) fn join(requests: &[&[Tensor]], rows: u64) -> Option<Vec<Tensor>> {
    let first = requests.first()?;
    (0..first.len())
        .map(|input| {
            let parts = || requests.iter().map(|tensors| tensors[input].data());
            let mut data = AlignedBytes::zeroed(parts().map(Bytes::len).sum());
            let mut rest = data.as_mut();
            for part in parts() {
                let (place, after) = rest.split_at_mut(part.len());
                place.copy_from_slice(part);
                rest = after;
            }
            let tensor = &first[input];
            Tensor::new(
                tensor.shared_name(),
                tensor.datatype(),
                tensor.shape().with_rows(rows),
                data.into(),
            )
            .ok()
        })
        .collect()
}

/// Splits outputs into each request's rows, sharing the data; none where an output does not have `rows` rows.
pub(super) fn split(outputs: &[Tensor], requests: &[u64], rows: u64) -> Option<Vec<Vec<Tensor>>> {
    let mut split: Vec<Vec<Tensor>> = requests
        .iter()
        .map(|_| Vec::with_capacity(outputs.len()))
        .collect();
    for output in outputs {
        if output.shape().first() != Some(&rows) {
            return None;
        }
        let mut start = 0;
        let mut offset = 0;
        for (tensors, count) in split.iter_mut().zip(requests) {
            tensors.push(match output.datatype() {
                Datatype::Bytes => text_rows(output, &mut offset, *count)?,
                _ => output.slice_rows(start, *count)?,
            });
            start += count;
        }
    }
    Some(split)
}

/// The next rows of a `BYTES` tensor, from a byte offset on.
fn text_rows(output: &Tensor, offset: &mut usize, rows: u64) -> Option<Tensor> {
    let shape: Shape = output.shape().with_rows(rows);
    let data = output.data();
    let start = *offset;
    for _ in 0..shape.elements()? {
        let len = data.get(*offset..)?.first_chunk::<4>()?;
        *offset = offset
            .checked_add(4)?
            .checked_add(u32::from_le_bytes(*len) as usize)?;
    }
    if *offset > data.len() {
        return None;
    }
    Tensor::new(
        output.shared_name(),
        Datatype::Bytes,
        shape,
        data.slice(start..*offset),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_joined_and_split_again() {
        let numbers = |values: &[f32]| {
            Tensor::from_vec("x", [values.len() as u64 / 2, 2], values.to_vec()).unwrap()
        };
        let text = |values: &[&str]| {
            Tensor::from_elements("t", [values.len() as u64 / 2, 2], values).unwrap()
        };
        let one = [numbers(&[1.0, 2.0]), text(&["a", "bb"])];
        let two = [numbers(&[3.0, 4.0, 5.0, 6.0]), text(&["", "c", "d", "eee"])];
        assert!(fit(&one, &two));
        assert_eq!((rows(&one), rows(&two)), (Some(1), Some(2)));

        let joined = join(&[&one, &two], 3).unwrap();
        assert_eq!(
            joined[0].as_slice::<f32>().unwrap(),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        let parts = split(&joined, &[1, 2], 3).unwrap();
        assert_eq!(parts[1][0].as_slice::<f32>().unwrap(), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            parts[1][0].data().as_ptr(),
            joined[0].data()[8..].as_ptr(),
            "rows are shared"
        );
        assert_eq!(
            parts[0][1].elements().unwrap().collect::<Vec<_>>(),
            [b"a".as_slice(), b"bb"]
        );
        assert_eq!(
            parts[1][1].elements().unwrap().last(),
            Some(b"eee".as_slice())
        );
        assert!(
            split(&joined, &[1, 2], 4).is_none(),
            "an output with other rows cannot be split"
        );
    }

    #[test]
    fn other_shapes_do_not_fit() {
        let of = |shape: [u64; 2]| {
            [Tensor::from_vec("x", shape, vec![0_u8; (shape[0] * shape[1]) as usize]).unwrap()]
        };
        assert!(fit(&of([1, 2]), &of([5, 2])));
        assert!(!fit(&of([1, 2]), &of([1, 3])));
        let uneven = [of([1, 2])[0].clone(), of([2, 2])[0].clone()];
        assert_eq!(rows(&uneven), None);
    }
}
