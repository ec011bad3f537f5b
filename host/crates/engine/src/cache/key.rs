//! The hash of a request's inputs.

use wharf_core::Tensor;

/// Hashes names, datatypes, shapes and data. Everything of changing length has its length before it, so that two requests
/// give the same bytes to the hash only where they are the same.
pub(super) fn hash(inputs: &[Tensor]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let number = |hasher: &mut blake3::Hasher, number: usize| {
        hasher.update(&(number as u64).to_le_bytes());
    };
    number(&mut hasher, inputs.len());
    for tensor in inputs {
        for text in [tensor.name(), tensor.datatype().name()] {
            number(&mut hasher, text.len());
            hasher.update(text.as_bytes());
        }
        number(&mut hasher, tensor.shape().len());
        for dimension in tensor.shape().iter() {
            hasher.update(&dimension.to_le_bytes());
        }
        number(&mut hasher, tensor.data().len());
        hasher.update(tensor.data());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[u64], bytes: &[u8]) -> Tensor {
        Tensor::from_vec(name, shape, bytes.to_vec()).unwrap()
    }

    #[test]
    fn whatever_differs_makes_another_key() {
        let key = |tensors: &[Tensor]| hash(tensors);
        let signed: Vec<i8> = vec![1, 2];
        let requests = [
            vec![],
            vec![tensor("x", &[2], &[1, 2])],
            vec![tensor("x", &[2], &[1, 3])],
            vec![tensor("x", &[1, 2], &[1, 2])],
            vec![tensor("x", &[2, 1], &[1, 2])],
            vec![tensor("y", &[2], &[1, 2])],
            vec![Tensor::from_vec("x", [2], signed).unwrap()],
            vec![tensor("x", &[1], &[1]), tensor("x", &[1], &[2])],
            vec![tensor("x", &[2], &[1, 2]), tensor("", &[0], &[])],
            vec![tensor("x", &[0], &[])],
        ];
        for (one, first) in requests.iter().enumerate() {
            for (other, second) in requests.iter().enumerate() {
                assert_eq!(key(first) == key(second), one == other, "{one} {other}");
            }
            assert_eq!(key(first), key(&first.clone()));
        }
    }
}
