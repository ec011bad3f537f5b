//! A fake of what plugins call models through.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use wharf_core::{
    Body, BoxFuture, Error, ErrorKind, ModelCalls, Payload, RequestContext, Result, Tensor,
};

use crate::gate::Gates;
use crate::script::{END, Script};

/// Targets that are scripts. A target gives its input back, and does beside that what its lines say:
///
/// - `add X`: adds a number to each element of the first tensor, which it gives as `output`;
/// - `body N`: gives a body of so many bytes;
/// - `gate NAME`: waits at a gate in each call that is waited for;
/// - `full`: has no room for a call that nobody waits for;
/// - `refuse KIND`: refuses each call with an error of this kind.
#[derive(Default)]
pub struct FakeModelCalls {
    /// Where its targets wait.
    pub gates: Gates,
    targets: HashMap<String, Script>,
    running: AtomicUsize,
    most: AtomicUsize,
    made: Mutex<Vec<MadeCall>>,
    mirrored: Mutex<Vec<MadeCall>>,
}

/// A call that a target was given.
#[derive(Clone, Debug)]
pub struct MadeCall {
    /// The request that it was made for.
    pub request: Arc<RequestContext>,
    /// Its target.
    pub target: String,
    /// The version or label that it named.
    pub version: Option<String>,
    /// What the target was given.
    pub input: Payload,
}

impl FakeModelCalls {
    /// Makes targets, each with the lines of its script.
    ///
    /// # Panics
    /// Never: the scripts are whole.
    #[must_use]
    pub fn new(targets: &[(&str, &str)]) -> Arc<Self> {
        let target = |(name, lines): &(&str, &str)| {
            let script = Script::parse(&format!("{lines}\n{END}")).expect("a whole script");
            ((*name).to_owned(), script)
        };
        Arc::new(Self {
            targets: targets.iter().map(target).collect(),
            ..Self::default()
        })
    }

    /// How many calls run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// The most calls that ran at one time.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Every call, in the order of their beginning.
    #[must_use]
    pub fn made(&self) -> Vec<MadeCall> {
        self.made.lock().clone()
    }

    /// Every call that was left behind. None of them is made.
    #[must_use]
    pub fn mirrored(&self) -> Vec<MadeCall> {
        self.mirrored.lock().clone()
    }

    async fn answer(&self, call: MadeCall) -> Result<Payload> {
        let MadeCall { target, input, .. } = call.clone();
        self.made.lock().push(call);
        let _running = self.enter();
        let Some(script) = self.targets.get(&target) else {
            return Err(Error::new(ErrorKind::NotFound, "no such target by script"));
        };
        if let Some(gate) = script.get("gate") {
            self.gates.get(gate).pass().await;
        }
        if let Some(error) = script.refusal() {
            return Err(error);
        }
        if let Some(size) = script.number("body") {
            return Ok(Payload::Body(Body {
                media_type: "application/octet-stream".into(),
                data: Bytes::from(vec![0; size]),
            }));
        }
        let Some(amount) = script.number::<f32>("add") else {
            return Ok(input);
        };
        let sum: Vec<f32> = crate::values(&input).iter().map(|x| x + amount).collect();
        let tensor = Tensor::from_vec("output", [sum.len() as u64], sum);
        Ok(Payload::Tensors(vec![tensor.map_err(Error::internal)?]))
    }

    fn enter(&self) -> Running<'_> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        Running(&self.running)
    }
}

impl ModelCalls for FakeModelCalls {
    fn call<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        target: &'a str,
        version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(self.answer(MadeCall {
            request: Arc::clone(request),
            target: target.to_owned(),
            version: version.map(str::to_owned),
            input,
        }))
    }

    fn mirror(
        &self,
        request: &Arc<RequestContext>,
        target: &str,
        version: Option<&str>,
        input: Payload,
    ) -> Result<()> {
        let Some(script) = self.targets.get(target) else {
            return Err(Error::new(ErrorKind::NotFound, "no such target by script"));
        };
        if script.has("full") {
            return Err(Error::new(ErrorKind::Unavailable, "full by script"));
        }
        self.mirrored.lock().push(MadeCall {
            request: Arc::clone(request),
            target: target.to_owned(),
            version: version.map(str::to_owned),
            input,
        });
        Ok(())
    }
}

/// Counts a call out, however it ends.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
