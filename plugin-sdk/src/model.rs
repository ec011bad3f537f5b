//! Calls of other models and routes of the host, without a network between. Needs the grant `model`, which names them:
//!
//! ```toml
//! [grants.model]
//! targets = ["embed", "digits"]
//! ```
//!
//! A call has the deadline, the tenant, the headers and the trace of the request that the stage works for, and waits its turn
//! at the target as any request does. Tensors go there and come back as handles: nothing is copied but what the plugin reads.
//! The time of a call is not the plugin's own, so the limit `call_ms` does not count it.
//!
//! ```
//! use wharf_plugin_sdk::model::{self, Call};
//! use wharf_plugin_sdk::{Error, Result, Tensor};
//!
//! /// The mean of what two models make of a tensor. They are called at once.
//! fn mean(input: &Tensor) -> Result<Vec<f32>> {
//!     // Another handle of the same data.
//!     let another = || input.with_name(&input.name());
//!     let calls = ["small", "large"].map(|target| Call::new(target, another()));
//!     let mut sum = vec![0.0; 2];
//!     for output in model::infer_all(calls) {
//!         for (sum, value) in sum.iter_mut().zip(output?.tensor("y")?.fp32()?) {
//!             *sum += value;
//!         }
//!     }
//!     Ok(sum.iter().map(|sum| sum / 2.0).collect())
//! }
//!
//! // In a native test a closure stands in for each model.
//! use wharf_plugin_sdk::testing::serve_model;
//! for (target, factor) in [("small", 1.0), ("large", 3.0)] {
//!     serve_model(target, move |call| {
//!         let values = call.input.tensor("x")?.fp32()?;
//!         let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
//!         Ok(Tensor::new("y", &[2], &scaled)?.into())
//!     });
//! }
//! let input = Tensor::new("x", &[2], &[1.0f32, 2.0])?;
//! assert_eq!(mean(&input)?, [2.0, 4.0]);
//! assert!(matches!(model::infer("medium", input), Err(Error::Denied(_))));
//! # Ok::<(), Error>(())
//! ```

use crate::{Payload, Result};

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The name of a route or of a model.
    pub target: String,
    /// A version or a label, such as `2` or `stable`; `None` for the one in force.
    pub version: Option<String>,
    /// What the target takes: its tensors, or a body.
    pub input: Payload,
}

impl Call {
    /// Makes a call of what is in force under a name.
    pub fn new(target: impl Into<String>, input: impl Into<Payload>) -> Self {
        Self {
            target: target.into(),
            version: None,
            input: input.into(),
        }
    }

    /// The same call of a version, or of the one with this label.
    #[must_use]
    pub fn with_version(self, version: impl Into<String>) -> Self {
        Self {
            version: Some(version.into()),
            ..self
        }
    }

    /// Makes the call, and waits for its answer.
    ///
    /// # Errors
    /// As [`infer`].
    pub fn infer(self) -> Result<Payload> {
        raw::infer(self)
    }

    /// Leaves the call behind.
    ///
    /// # Errors
    /// As [`mirror`].
    pub fn mirror(self) -> Result<()> {
        raw::mirror(self)
    }
}

/// Calls one target, and waits for its answer.
///
/// # Errors
/// What the target refuses with, as far as the contract has a case for it: `not-found` where it is not there, `unavailable` where
/// it is full or its time is over, `invalid-input` where it does not take the input, else `failed`. `denied` with its name where the
/// grant does not name it; `failed` where routes call each other too deep; `unavailable` outside of a stage call.
pub fn infer(target: &str, input: impl Into<Payload>) -> Result<Payload> {
    Call::new(target, input).infer()
}

/// Calls several targets at once, and waits for all. The results are in the order of the calls. The grant says how many of them
/// run at one time (`calls`, 16 by default).
pub fn infer_all(calls: impl IntoIterator<Item = Call>) -> Vec<Result<Payload>> {
    raw::infer_all(calls.into_iter().collect())
}

/// Leaves a call with the host and goes on: nobody waits for it, and nobody sees its answer. So a new model gets the traffic of the one
/// in force without that a client notices. The call has the target's time rather than what is left of the client's, and goes on where
/// the client has its answer or leaves.
///
/// ```
/// use wharf_plugin_sdk::testing::serve_model;
/// use wharf_plugin_sdk::{Error, Tensor, model};
///
/// serve_model("next", |call| Ok(call.input));
/// let input = Tensor::new("x", &[1], &[1.0f32])?;
/// model::mirror("next", input.with_name("x"))?;
/// assert!(matches!(model::mirror("other", input), Err(Error::Denied(_))));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Where the call is not made: `unavailable` where the host has as many under way as it takes, `not-found` where there is no such
/// target, `denied` where the grant does not name it, `failed` where routes call each other too deep. A plugin that only mirrors does
/// well to ignore it.
pub fn mirror(target: &str, input: impl Into<Payload>) -> Result<()> {
    Call::new(target, input).mirror()
}

#[cfg(target_arch = "wasm32")]
mod raw {
    use super::{Call, Payload, Result};
    use crate::bindings::imports::model;

    pub(super) fn infer(call: Call) -> Result<Payload> {
        model::infer(lower(call)).map(Into::into)
    }

    pub(super) fn infer_all(calls: Vec<Call>) -> Vec<Result<Payload>> {
        let calls = calls.into_iter().map(lower).collect();
        let given = model::infer_all(calls).into_iter();
        given.map(|given| given.map(Into::into)).collect()
    }

    pub(super) fn mirror(call: Call) -> Result<()> {
        model::mirror(lower(call))
    }

    fn lower(call: Call) -> model::Call {
        model::Call {
            target: call.target,
            version: call.version,
            input: call.input.into(),
        }
    }
}

/// Natively, closures stand in for models.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod raw {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::rc::Rc;

    use super::{Call, Payload, Result};
    use crate::Error;

    type Model = Rc<dyn Fn(Call) -> Result<Payload>>;

    thread_local! {
        static MODELS: RefCell<HashMap<String, Model>> = RefCell::default();
    }

    pub(crate) fn serve(target: &str, answer: impl Fn(Call) -> Result<Payload> + 'static) {
        MODELS.with_borrow_mut(|models| models.insert(target.to_owned(), Rc::new(answer)));
    }

    pub(super) fn infer(call: Call) -> Result<Payload> {
        // Taken out of the map first: what answers may call models itself.
        let model = MODELS.with_borrow(|models| models.get(&call.target).cloned());
        match model {
            Some(model) => model(call),
            None => Err(Error::denied(format!(
                "the grant model does not name {}",
                call.target
            ))),
        }
    }

    pub(super) fn infer_all(calls: Vec<Call>) -> Vec<Result<Payload>> {
        calls.into_iter().map(infer).collect()
    }

    /// Made at once, so that a test can look at it.
    pub(super) fn mirror(call: Call) -> Result<()> {
        let granted = MODELS.with_borrow(|models| models.contains_key(&call.target));
        let given = infer(call);
        match granted {
            // Nobody sees what comes of it.
            true => Ok(()),
            false => given.map(drop),
        }
    }
}
