//! The element types of tensors.

use std::fmt;

macro_rules! datatypes {
    ($($(#[$doc:meta])* $case:ident, $name:literal, $width:expr;)+) => {
        /// The element type of a tensor, with the names and widths of the Open Inference Protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Datatype {
            $($(#[$doc])* $case,)+
        }

        impl Datatype {
            /// The name in the Open Inference Protocol, such as `FP32`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$case => $name,)+ }
            }

            /// The bytes that an element takes; `None` for [`Datatype::Bytes`], whose elements have any length.
            pub const fn width(self) -> Option<usize> {
                match self { $(Self::$case => $width,)+ }
            }
        }

        /// The contract's enum as this one.
        #[cfg(target_arch = "wasm32")]
        pub(crate) const fn lift(raw: crate::bindings::types::Datatype) -> Datatype {
            match raw { $(crate::bindings::types::Datatype::$case => Datatype::$case,)+ }
        }

        /// This enum as the contract's.
        #[cfg(target_arch = "wasm32")]
        pub(crate) const fn lower(datatype: Datatype) -> crate::bindings::types::Datatype {
            match datatype { $(Datatype::$case => crate::bindings::types::Datatype::$case,)+ }
        }
    };
}

datatypes! {
    /// `BOOL`: one byte an element, 0 or 1.
    Boolean, "BOOL", Some(1);
    /// `UINT8`.
    Uint8, "UINT8", Some(1);
    /// `UINT16`.
    Uint16, "UINT16", Some(2);
    /// `UINT32`.
    Uint32, "UINT32", Some(4);
    /// `UINT64`.
    Uint64, "UINT64", Some(8);
    /// `INT8`.
    Int8, "INT8", Some(1);
    /// `INT16`.
    Int16, "INT16", Some(2);
    /// `INT32`.
    Int32, "INT32", Some(4);
    /// `INT64`.
    Int64, "INT64", Some(8);
    /// `FP16`: IEEE 754 binary16, two bytes.
    Fp16, "FP16", Some(2);
    /// `BF16`: the upper half of a binary32, two bytes.
    Bf16, "BF16", Some(2);
    /// `FP32`: IEEE 754 binary32.
    Fp32, "FP32", Some(4);
    /// `FP64`: IEEE 754 binary64.
    Fp64, "FP64", Some(8);
    /// `BYTES`: elements of any length, each stored as a little-endian `u32` length and that many bytes.
    Bytes, "BYTES", None;
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
