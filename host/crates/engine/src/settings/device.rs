//! The names of devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// What a model runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of that index.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(device: &str) -> Result<Self, String> {
        match device.split_once(':') {
            None if device == "cpu" => Ok(Self::Cpu),
            Some(("cuda", index)) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| unknown_device(device)),
            _ => Err(unknown_device(device)),
        }
    }
}

fn unknown_device(device: &str) -> String {
    format!("unknown device {device:?}: use \"cpu\", or \"cuda:0\" with the index of the device")
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
