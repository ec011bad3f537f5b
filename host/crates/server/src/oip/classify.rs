//! Classification: in place of an output's elements, those with the highest values, each as `value:index[:label]`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use wharf_core::{Datatype, Element, Error, Result, Tensor};

/// Gives the `count` highest values of each row, the highest first, as `BYTES` of the shape `[rows, count]`; of a tensor
/// of one dimension or none, `[count]`. The index counts the elements of a row. Of equal values the first comes first, and
/// what is no number comes last. A row that has fewer elements gives all of them.
///
/// # Errors
/// `InvalidArgument` with the output as the field where its elements are `BYTES`.
pub(crate) fn classify(
    tensor: &Tensor,
    classes: Option<&[Arc<str>]>,
    count: u32,
) -> Result<Tensor> {
    let ranking = Ranking {
        tensor,
        classes: classes.unwrap_or_default(),
        count: count as usize,
    };
    match tensor.datatype() {
        Datatype::Bytes => Err(Error::invalid(
            format!("outputs.{}", tensor.name()),
            "the elements are BYTES, which have no order of size; ask for classes of a numeric output",
        )),
        // A BOOL is a byte, 0 or 1.
        Datatype::Bool => ranking.of(tensor.data(), whole),
        Datatype::Uint8 => ranking.of(elements::<u8>(tensor)?, whole),
        Datatype::Uint16 => ranking.of(elements::<u16>(tensor)?, whole),
        Datatype::Uint32 => ranking.of(elements::<u32>(tensor)?, whole),
        Datatype::Uint64 => ranking.of(elements::<u64>(tensor)?, whole),
        Datatype::Int8 => ranking.of(elements::<i8>(tensor)?, whole),
        Datatype::Int16 => ranking.of(elements::<i16>(tensor)?, whole),
        Datatype::Int32 => ranking.of(elements::<i32>(tensor)?, whole),
        Datatype::Int64 => ranking.of(elements::<i64>(tensor)?, whole),
        Datatype::Fp16 => ranking.of(elements::<half::f16>(tensor)?, real),
        Datatype::Bf16 => ranking.of(elements::<half::bf16>(tensor)?, real),
        Datatype::Fp32 => ranking.of(elements::<f32>(tensor)?, real),
        Datatype::Fp64 => ranking.of(elements::<f64>(tensor)?, real),
    }
}

fn elements<T: Element>(tensor: &Tensor) -> Result<&[T]> {
    tensor.as_slice().map_err(Error::internal)
}

/// What is ranked, and how much of it is wanted.
struct Ranking<'a> {
    tensor: &'a Tensor,
    classes: &'a [Arc<str>],
    count: usize,
}

impl Ranking<'_> {
    fn of<T: Copy + PartialOrd>(&self, values: &[T], write: fn(&mut String, T)) -> Result<Tensor> {
        let shape = self.tensor.shape();
        let batched = shape.len() > 1;
        let rows = if batched { self.tensor.rows() } else { 1 };
        let row_len = match batched {
            true => shape.with_rows(1).elements().unwrap_or(0) as usize,
            false => values.len(),
        };
        let taken = self.count.min(row_len);
        let mut data = BytesMut::new();
        // Rows of nothing may be many.
        if taken > 0 {
            let (mut order, mut text) = (Vec::with_capacity(row_len), String::new());
            for row in values.chunks_exact(row_len) {
                rank(row, taken, &mut order);
                for index in &order {
                    text.clear();
                    write(&mut text, row[*index]);
                    // Writing to a String cannot fail.
                    let _ = write!(text, ":{index}");
                    if let Some(label) = self.classes.get(*index) {
                        let _ = write!(text, ":{label}");
                    }
                    data.put_u32_le(u32::try_from(text.len()).map_err(Error::internal)?);
                    data.put_slice(text.as_bytes());
                }
            }
        }
        let (name, data) = (self.tensor.shared_name(), data.freeze());
        let made = match batched {
            true => Tensor::new(name, Datatype::Bytes, [rows, taken as u64], data),
            false => Tensor::new(name, Datatype::Bytes, [taken as u64], data),
        };
        made.map_err(Error::internal)
    }
}

/// Leaves in `order` the indices of the highest elements of a row. `taken` is at least 1 and at most the row's length.
fn rank<T: PartialOrd>(row: &[T], taken: usize, order: &mut Vec<usize>) {
    let descending = |a: &usize, b: &usize| {
        let (x, y) = (&row[*a], &row[*b]);
        let is_nan = |value: &T| value.partial_cmp(value).is_none();
        y.partial_cmp(x)
            .unwrap_or_else(|| is_nan(x).cmp(&is_nan(y)))
            .then(a.cmp(b))
    };
    order.clear();
    order.extend(0..row.len());
    // Only what is asked for is sorted: rows may be long, and counts are small.
    if taken < row.len() {
        order.select_nth_unstable_by(taken - 1, descending);
        order.truncate(taken);
    }
    order.sort_unstable_by(descending);
    debug_assert!(order.is_sorted_by(|a, b| descending(a, b) == Ordering::Less));
}

fn whole<T: std::fmt::Display>(text: &mut String, value: T) {
    let _ = write!(text, "{value}");
}

/// Six digits after the point, as clients of Triton know it.
fn real<T: Into<f64>>(text: &mut String, value: T) {
    let _ = write!(text, "{:.6}", value.into());
}

#[cfg(test)]
mod tests {
    use wharf_core::ErrorKind;

    use super::*;

    fn texts(tensor: &Tensor) -> Vec<&str> {
        let elements = tensor.elements().unwrap();
        elements
            .map(|element| std::str::from_utf8(element).unwrap())
            .collect()
    }

    #[test]
    fn each_row_is_ranked_by_itself() {
        let logits = Tensor::from_vec("y", [2, 3], vec![0.1_f32, 0.7, 0.2, 3.0, 1.0, 2.0]).unwrap();
        let labels: [Arc<str>; 2] = ["cat".into(), "dog".into()];
        let ranked = classify(&logits, Some(&labels), 2).unwrap();
        assert_eq!(
            texts(&ranked),
            [
                "0.700000:1:dog",
                "0.200000:2",
                "3.000000:0:cat",
                "2.000000:2"
            ]
        );
        assert_eq!(&ranked.shape()[..], [2, 2]);
        assert_eq!((ranked.name(), ranked.datatype()), ("y", Datatype::Bytes));
    }

    #[test]
    fn no_number_comes_last_and_equals_keep_their_order() {
        let values = vec![f32::NAN, 1.0, f32::NEG_INFINITY, 1.0, f32::INFINITY];
        let tensor = Tensor::from_vec("y", [5], values).unwrap();
        let ranked = classify(&tensor, None, 99).unwrap();
        assert_eq!(
            texts(&ranked),
            ["inf:4", "1.000000:1", "1.000000:3", "-inf:2", "NaN:0"]
        );
        assert_eq!(&ranked.shape()[..], [5]);
    }

    #[test]
    fn whole_numbers_of_every_size_are_ranked() {
        let tensor = Tensor::from_vec("y", [1, 2], vec![i64::MIN, i64::MAX]).unwrap();
        let ranked = classify(&tensor, None, 1).unwrap();
        assert_eq!(texts(&ranked), ["9223372036854775807:1"]);
        let tensor = Tensor::from_vec("y", [1, 2], vec![half::f16::from_f32(0.5); 2]).unwrap();
        assert_eq!(texts(&classify(&tensor, None, 1).unwrap()), ["0.500000:0"]);
        let data = bytes::Bytes::from_static(&[0, 1]);
        let tensor = Tensor::new("y", Datatype::Bool, [2], data).unwrap();
        assert_eq!(texts(&classify(&tensor, None, 2).unwrap()), ["1:1", "0:0"]);
    }

    #[test]
    fn a_scalar_is_one_class_and_nothing_is_none() {
        let scalar = Tensor::from_vec("y", [0_u64; 0], vec![7_u8]).unwrap();
        let ranked = classify(&scalar, None, 3).unwrap();
        assert_eq!(
            (texts(&ranked), &ranked.shape()[..]),
            (vec!["7:0"], &[1][..])
        );
        let empty = Tensor::from_vec("y", [1 << 40, 0], Vec::<f32>::new()).unwrap();
        let ranked = classify(&empty, None, 3).unwrap();
        assert_eq!(&ranked.shape()[..], [1 << 40, 0]);
    }

    #[test]
    fn text_has_no_classes() {
        let tensor = Tensor::from_elements("words", [1], &["a"]).unwrap();
        let error = classify(&tensor, None, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.field(), Some("outputs.words"));
    }
}
