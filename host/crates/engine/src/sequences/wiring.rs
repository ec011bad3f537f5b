//! Which inputs and outputs of a model are the memory of a sequence, and which are its clients'.

use wharf_core::{Error, Result, Sequence, Tensor, TensorSpec};

use super::controls::{self, FLAGS, IDS};
use crate::cache;
use crate::settings::{SequenceState, Sequences};

/// The inputs and outputs of a model with sequences, in the model's order.
pub(crate) struct Wiring {
    inputs: Vec<(TensorSpec, Role)>,
    /// Of each output, the state that it is.
    outputs: Vec<Option<usize>>,
    /// Of each state, the input that takes it.
    states: Vec<TensorSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Request,
    Start,
    End,
    Id,
    State(usize),
}

/// A setting that does not fit the model: its key, and why.
pub(crate) type WrongKey = (String, String);

impl Wiring {
    /// Settles what `[sequences]` says.
    ///
    /// # Errors
    /// Where it names an input or output that the model has not, or names one twice, or its datatype or shape does not do.
    pub(crate) fn new(
        settings: &Sequences,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
    ) -> Result<Self, WrongKey> {
        let mut wiring = Self {
            inputs: inputs
                .iter()
                .map(|spec| (spec.clone(), Role::Request))
                .collect(),
            outputs: vec![None; outputs.len()],
            states: Vec::new(),
        };
        for (key, name, role, allowed) in [
            ("start", &settings.start, Role::Start, &FLAGS[..]),
            ("end", &settings.end, Role::End, &FLAGS),
            ("id", &settings.id, Role::Id, &IDS),
        ] {
            let Some(name) = name else { continue };
            let key = format!("sequences.{key}");
            let index = wiring.assign(&key, name, role)?;
            let datatype = wiring.inputs[index].0.datatype;
            if !allowed.contains(&datatype) {
                let names: Vec<_> = allowed.iter().map(|datatype| datatype.name()).collect();
                let message = format!(
                    "input {name:?} is {datatype}; this takes one of {}",
                    names.join(", ")
                );
                return Err((key, message));
            }
        }
        for (index, state) in settings.states.iter().enumerate() {
            wiring.connect(index, state, outputs)?;
        }
        Ok(wiring)
    }

    fn assign(&mut self, key: &str, name: &str, role: Role) -> Result<usize, WrongKey> {
        let wrong = |message: String| (key.to_owned(), message);
        let index = self
            .inputs
            .iter()
            .position(|(spec, _)| *spec.name == *name)
            .ok_or_else(|| wrong(format!("the model has no input {name:?}")))?;
        let place = &mut self.inputs[index].1;
        if *place != Role::Request {
            return Err(wrong(format!("input {name:?} is named twice")));
        }
        *place = role;
        Ok(index)
    }

    fn connect(
        &mut self,
        state: usize,
        names: &SequenceState,
        outputs: &[TensorSpec],
    ) -> Result<(), WrongKey> {
        let key = |end: &str| format!("sequences.states[{state}].{end}");
        let SequenceState { input, output } = names;
        let index = self.assign(&key("input"), input, Role::State(state))?;
        let spec = self.inputs[index].0.clone();
        let wrong = |message: String| Err((key("output"), message));
        let Some(place) = outputs.iter().position(|spec| *spec.name == **output) else {
            return wrong(format!("the model has no output {output:?}"));
        };
        if self.outputs[place].is_some() {
            return wrong(format!("output {output:?} is named twice"));
        }
        let produced = &outputs[place];
        let fits = produced.datatype == spec.datatype
            && produced.shape.len() == spec.shape.len()
            && produced
                .shape
                .iter()
                .zip(&spec.shape)
                .all(|(given, taken)| given.is_none() || taken.is_none() || given == taken);
        if !fits {
            return wrong(format!(
                "output {output:?} cannot be input {input:?}: they differ in datatype or shape"
            ));
        }
        self.outputs[place] = Some(state);
        self.states.push(spec);
        Ok(())
    }

    /// The inputs that clients give.
    pub(crate) fn visible_inputs(&self) -> Vec<TensorSpec> {
        self.inputs
            .iter()
            .filter(|(_, role)| *role == Role::Request)
            .map(|(spec, _)| spec.clone())
            .collect()
    }

    /// The outputs that clients get, of all.
    pub(crate) fn visible_outputs(&self, outputs: Vec<TensorSpec>) -> Vec<TensorSpec> {
        outputs
            .into_iter()
            .zip(&self.outputs)
            .filter(|(_, state)| state.is_none())
            .map(|(spec, _)| spec)
            .collect()
    }

    /// All inputs, of those of the request in the model's order, and what the request before left; at the start it left
    /// nothing.
    pub(super) fn inputs(
        &self,
        request: Vec<Tensor>,
        state: Option<&[Tensor]>,
        sequence: &Sequence,
    ) -> Result<Vec<Tensor>> {
        let mut visible = self
            .inputs
            .iter()
            .filter(|(_, role)| *role == Role::Request);
        let has_rows = visible
            .next()
            .is_some_and(|(spec, _)| spec.shape.first() == Some(&None));
        let rows = match request.first() {
            Some(first) if has_rows => first.rows(),
            _ => 1,
        };
        let mut request = request.into_iter().peekable();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (spec, role) in &self.inputs {
            inputs.push(match *role {
                Role::Request => match request.next_if(|tensor| tensor.name() == &*spec.name) {
                    Some(tensor) => tensor,
                    // It is optional.
                    None => continue,
                },
                Role::Start => controls::flag(spec, rows, sequence.start)?,
                Role::End => controls::flag(spec, rows, sequence.end)?,
                Role::Id => controls::id(spec, rows, &sequence.id)?,
                Role::State(index) => match state {
                    Some(state) => state[index].clone(),
                    None => controls::zeros(spec, rows)?,
                },
            });
        }
        Ok(inputs)
    }

    /// Parts what clients get from what the next request takes. States are copied: they may be a part of a batch.
    pub(super) fn outputs(&self, outputs: Vec<Tensor>) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let mut visible = Vec::with_capacity(outputs.len());
        let mut states: Vec<Option<Tensor>> = vec![None; self.states.len()];
        for (tensor, state) in outputs.into_iter().zip(&self.outputs) {
            match state {
                None => visible.push(tensor),
                Some(index) => {
                    let name = self.states[*index].name.clone();
                    states[*index] = cache::copy(&tensor.with_name(name));
                }
            }
        }
        let states: Option<Vec<Tensor>> = states.into_iter().collect();
        let states = states.ok_or_else(|| Error::internal("a run gave no state"))?;
        Ok((visible, states))
    }
}

#[cfg(test)]
mod tests;
