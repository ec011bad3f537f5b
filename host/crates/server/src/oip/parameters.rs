//! What the parameters of requests, inputs and outputs mean, however they are written.
//!
//! A parameter that is not known here is let be: clients send what their own servers know.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use wharf_core::{Error, Result, Scheduling, Sequence, SequenceId};

use super::Region;

/// The longest name of a sequence, in bytes.
const MAX_SEQUENCE_ID: usize = 128;

/// The value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct RequestParameters {
    /// Whether outputs that do not say it themselves come as binary data; REST alone has the choice.
    pub(crate) binary_output: bool,
    priority: Option<NonZeroU32>,
    queue_timeout: Option<Duration>,
    sequence_id: Option<SequenceId>,
    sequence_start: bool,
    sequence_end: bool,
}

/// The parameters of an input.
#[derive(Debug, Default)]
pub(crate) struct InputParameters {
    /// The media type, where the input stands for a body.
    pub(crate) content_type: Option<Arc<str>>,
    /// The bytes of binary data that are its elements; REST alone has it.
    pub(crate) binary_data_size: Option<u64>,
    region: RegionParameters,
}

/// The parameters of an output that is asked for.
#[derive(Debug, Default)]
pub(crate) struct OutputParameters {
    /// Whether it is to come as binary data; REST alone has the choice.
    pub(crate) binary: Option<bool>,
    /// In place of the elements, so many classes with the highest values.
    pub(crate) classification: Option<u32>,
    region: RegionParameters,
}

/// What names a part of a region of shared memory.
#[derive(Debug, Default)]
struct RegionParameters {
    name: Option<String>,
    offset: u64,
    byte_size: Option<u64>,
}

impl RequestParameters {
    /// Takes a parameter.
    ///
    /// # Errors
    /// `InvalidArgument` where its value is none that it can have.
    pub(crate) fn set(&mut self, name: &str, value: Value<'_>) -> Result<()> {
        let at = Place(&[], name);
        match name {
            "binary_data_output" => self.binary_output = at.bool(value)?,
            "sequence_start" => self.sequence_start = at.bool(value)?,
            "sequence_end" => self.sequence_end = at.bool(value)?,
            "sequence_id" => self.sequence_id = at.sequence_id(value)?,
            "priority" => {
                let level = u32::try_from(at.uint(value)?);
                let level = level.map_err(|_| at.wrong("is a level of priority, 1 the highest"))?;
                self.priority = NonZeroU32::new(level);
            }
            // Microseconds; 0 is none, as Triton has it.
            "timeout" => {
                let micros = NonZeroU64::new(at.uint(value)?);
                self.queue_timeout = micros.map(|micros| Duration::from_micros(micros.get()));
            }
            _ => {}
        }
        Ok(())
    }

    /// What they say of the request's place among others. Where a sequence begins or ends that has no name, there is none:
    /// clients send both flags always.
    pub(crate) fn scheduling(&self) -> Scheduling {
        Scheduling {
            priority: self.priority,
            queue_timeout: self.queue_timeout,
            sequence: self.sequence_id.clone().map(|id| Sequence {
                id,
                start: self.sequence_start,
                end: self.sequence_end,
            }),
        }
    }
}

impl InputParameters {
    /// Takes a parameter of the named input.
    ///
    /// # Errors
    /// As [`RequestParameters::set`].
    pub(crate) fn set(&mut self, input: &str, name: &str, value: Value<'_>) -> Result<()> {
        let at = Place(&["inputs.", input, "."], name);
        match name {
            "content_type" => self.content_type = Some(at.text(value)?.into()),
            "binary_data_size" => self.binary_data_size = Some(at.uint(value)?),
            _ => self.region.set(&at, value)?,
        }
        Ok(())
    }

    /// Where its elements are, in place of the request.
    ///
    /// # Errors
    /// `InvalidArgument` where the region is not named, or its size is not given.
    pub(crate) fn take_region(&mut self, input: &str) -> Result<Option<Region>> {
        std::mem::take(&mut self.region).region(&["inputs.", input, "."])
    }
}

impl OutputParameters {
    /// Takes a parameter of the named output.
    ///
    /// # Errors
    /// As [`RequestParameters::set`].
    pub(crate) fn set(&mut self, output: &str, name: &str, value: Value<'_>) -> Result<()> {
        let at = Place(&["outputs.", output, "."], name);
        match name {
            "binary_data" => self.binary = Some(at.bool(value)?),
            // 0 is none: tritonclient's default.
            "classification" => {
                let count = u32::try_from(at.uint(value)?);
                let count = count.map_err(|_| at.wrong("is the number of classes"))?;
                self.classification = (count > 0).then_some(count);
            }
            _ => self.region.set(&at, value)?,
        }
        Ok(())
    }

    /// Where it is to be written, in place of the answer.
    ///
    /// # Errors
    /// As [`InputParameters::take_region`].
    pub(crate) fn take_region(&mut self, output: &str) -> Result<Option<Region>> {
        std::mem::take(&mut self.region).region(&["outputs.", output, "."])
    }
}

impl RegionParameters {
    fn set(&mut self, at: &Place<'_>, value: Value<'_>) -> Result<()> {
        match at.1 {
            "shared_memory_region" => self.name = Some(at.text(value)?.to_owned()),
            "shared_memory_offset" => self.offset = at.uint(value)?,
            "shared_memory_byte_size" => self.byte_size = Some(at.uint(value)?),
            _ => {}
        }
        Ok(())
    }

    fn region(self, whose: &[&str]) -> Result<Option<Region>> {
        match (self.name, self.byte_size) {
            (None, None) => Ok(None),
            (Some(name), Some(byte_size)) => Ok(Some(Region {
                name,
                offset: self.offset,
                byte_size,
            })),
            (Some(_), None) => Err(Place(whose, "shared_memory_byte_size")
                .wrong("is missing; give the size in bytes beside shared_memory_region")),
            (None, Some(_)) => Err(Place(whose, "shared_memory_region")
                .wrong("is missing; name the region beside shared_memory_byte_size")),
        }
    }
}

/// Where a parameter is: what the field of an error names, made only where there is one.
struct Place<'a>(&'a [&'a str], &'a str);

impl Place<'_> {
    fn wrong(&self, message: &'static str) -> Error {
        let Self(whose, name) = self;
        Error::invalid(format!("{}parameters.{name}", whose.concat()), message)
    }

    fn bool(&self, value: Value<'_>) -> Result<bool> {
        match value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong("is true or false")),
        }
    }

    fn uint(&self, value: Value<'_>) -> Result<u64> {
        let number = match value {
            Value::Uint(number) => Some(number),
            Value::Int(number) => number.try_into().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong("is a whole number, not below 0"))
    }

    fn text<'v>(&self, value: Value<'v>) -> Result<&'v str> {
        match value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("is text")),
        }
    }

    /// A number or text; 0 and the empty text are none.
    fn sequence_id(&self, value: Value<'_>) -> Result<Option<SequenceId>> {
        match value {
            Value::Text(text) if text.len() > MAX_SEQUENCE_ID => {
                Err(self.wrong("is longer than 128 bytes; use a shorter one"))
            }
            Value::Text(text) => Ok((!text.is_empty()).then(|| SequenceId::Text(text.into()))),
            _ => Ok(NonZeroU64::new(self.uint(value)?).map(SequenceId::Number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parameters: &[(&str, Value<'_>)]) -> Result<Scheduling> {
        let mut request = RequestParameters::default();
        for (name, value) in parameters {
            request.set(name, *value)?;
        }
        Ok(request.scheduling())
    }

    #[test]
    fn a_place_in_the_queue_is_read() {
        let scheduling = request(&[
            ("priority", Value::Uint(2)),
            ("timeout", Value::Int(1500)),
            ("sequence_id", Value::Text("a")),
            ("sequence_end", Value::Bool(true)),
            ("made_up", Value::Double(0.5)),
        ]);
        let scheduling = scheduling.unwrap();
        assert_eq!(scheduling.priority, NonZeroU32::new(2));
        assert_eq!(scheduling.queue_timeout, Some(Duration::from_micros(1500)));
        let sequence = scheduling.sequence.unwrap();
        assert_eq!(sequence.id, SequenceId::Text("a".into()));
        assert!(sequence.end && !sequence.start);
    }

    #[test]
    fn what_clients_send_always_says_nothing() {
        let defaults = [
            ("priority", Value::Uint(0)),
            ("timeout", Value::Int(0)),
            ("sequence_id", Value::Int(0)),
            ("sequence_start", Value::Bool(true)),
        ];
        assert_eq!(request(&defaults).unwrap(), Scheduling::default());
        let mut output = OutputParameters::default();
        output.set("y", "classification", Value::Int(0)).unwrap();
        assert_eq!(output.classification, None);
        assert_eq!(output.take_region("y").unwrap(), None);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let long = "x".repeat(129);
        for (name, value) in [
            ("priority", Value::Int(-1)),
            ("priority", Value::Uint(1 << 32)),
            ("timeout", Value::Double(0.5)),
            ("sequence_id", Value::Text(&long)),
            ("sequence_start", Value::Int(1)),
        ] {
            let error = request(&[(name, value)]).unwrap_err();
            assert_eq!(error.field(), Some(&*format!("parameters.{name}")));
        }
        let mut input = InputParameters::default();
        let error = input.set("x", "binary_data_size", Value::Int(-1));
        let field = error.unwrap_err().field().map(str::to_owned);
        assert_eq!(
            field.as_deref(),
            Some("inputs.x.parameters.binary_data_size")
        );
    }

    #[test]
    fn a_region_is_whole_or_none() {
        let mut input = InputParameters::default();
        let name = ("shared_memory_region", Value::Text("r"));
        input.set("x", name.0, name.1).unwrap();
        let error = input.take_region("x").unwrap_err();
        let missing = "inputs.x.parameters.shared_memory_byte_size";
        assert_eq!(error.field(), Some(missing));
        input.set("x", name.0, name.1).unwrap();
        let size = ("shared_memory_byte_size", Value::Int(8));
        input.set("x", size.0, size.1).unwrap();
        let region = input.take_region("x").unwrap().unwrap();
        assert_eq!((region.offset, region.byte_size), (0, 8));
    }
}
