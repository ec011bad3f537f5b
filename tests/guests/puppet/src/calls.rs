//! The calls that a program may make, each by its number in one table.

mod abilities;
mod codec;
mod misuse;
mod small;
mod tensors;

use std::collections::BTreeSet;

use wharf_plugin_sdk::bindings::imports::codec::Tokenizer;
use wharf_plugin_sdk::bindings::types::{Body, Payload, Request, Tensor};

use crate::program::Program;

/// The most calls of a program: it must come to an end within the time of a call.
const MOST_CALLS: usize = 64;

/// The most things on a shelf.
const MOST_KEPT: usize = 32;

/// A call: the function as the contract names it, and what makes it.
pub(crate) type Call = (&'static str, fn(&mut Machine<'_>));

/// Every function that the contract offers, and then what is no function of it but is done with one. New ones go to the end of their
/// part: a committed program means them by their numbers, and `seeds.py` reads these out of this file.
pub(crate) const CALLS: [Call; 63] = [
    ("types.[static]tensor.from-bytes", tensors::from_bytes),
    ("types.[static]tensor.from-fp32", tensors::from_fp32),
    ("types.[static]tensor.from-fp64", tensors::from_fp64),
    ("types.[static]tensor.from-int32", tensors::from_int32),
    ("types.[static]tensor.from-int64", tensors::from_int64),
    ("types.[static]tensor.from-elements", tensors::from_elements),
    ("types.[method]tensor.name", tensors::name),
    ("types.[method]tensor.datatype", tensors::datatype),
    ("types.[method]tensor.shape", tensors::shape),
    ("types.[method]tensor.byte-length", tensors::byte_length),
    ("types.[method]tensor.read", tensors::read),
    ("types.[method]tensor.read-range", tensors::read_range),
    ("types.[method]tensor.read-fp32", tensors::read_fp32),
    ("types.[method]tensor.read-fp64", tensors::read_fp64),
    ("types.[method]tensor.read-int32", tensors::read_int32),
    ("types.[method]tensor.read-int64", tensors::read_int64),
    ("types.[method]tensor.read-elements", tensors::read_elements),
    ("types.[method]tensor.with-name", tensors::with_name),
    ("types.[method]tensor.with-shape", tensors::with_shape),
    ("types.[constructor]body", small::body),
    ("types.[method]body.media-type", small::media_type),
    ("types.[method]body.byte-length", small::body_length),
    ("types.[method]body.read", small::body_read),
    ("types.[method]body.read-range", small::body_range),
    ("types.[method]request.id", small::id),
    ("types.[method]request.route", small::route),
    ("types.[method]request.tenant", small::tenant),
    ("types.[method]request.header", small::header),
    ("types.[method]request.headers", small::headers),
    ("types.[method]request.remaining-ms", small::remaining),
    ("log.write", small::log),
    ("metrics.add", small::add),
    ("metrics.set", small::set),
    ("metrics.observe", small::observe),
    ("settings.read", small::settings),
    ("state.get", abilities::state_get),
    ("state.set", abilities::state_set),
    ("state.compare-and-swap", abilities::state_swap),
    ("state.increment", abilities::state_increment),
    ("state.delete", abilities::state_delete),
    ("state.keys", abilities::state_keys),
    ("model.infer", abilities::infer),
    ("model.infer-all", abilities::infer_all),
    ("model.mirror", abilities::mirror),
    ("codec.inspect-image", codec::inspect),
    ("codec.decode-image", codec::decode_image),
    ("codec.[static]tokenizer.open", codec::open),
    ("codec.[method]tokenizer.encode", codec::encode),
    ("codec.[method]tokenizer.decode", codec::decode),
    ("codec.[method]tokenizer.token-id", codec::token_id),
    (
        "codec.[method]tokenizer.vocabulary-size",
        codec::vocabulary_size,
    ),
    ("http.send", abilities::send),
    ("http.send-all", abilities::send_all),
    ("secret.read", abilities::secret),
    ("types.[method]body.with-media-type", small::with_media_type),
    ("image", codec::image),
    ("drop a tensor", misuse::drop_tensor),
    ("drop a body", misuse::drop_body),
    ("read a handle that is none", misuse::forged),
    ("drop a handle that is none", misuse::drop_forged),
    ("drop a handle twice", misuse::drop_twice),
    ("take a handle of another kind", misuse::other_kind),
    ("leave a handle behind", misuse::leave),
];

/// Runs a program.
pub(crate) struct Machine<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) request: &'a Request,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) bodies: Vec<Body>,
    pub(crate) tokenizers: Vec<Tokenizer>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(request: &'a Request, program: &'a [u8]) -> Self {
        Self {
            program: Program::new(program),
            request,
            tensors: Vec::new(),
            bodies: Vec::new(),
            tokenizers: Vec::new(),
        }
    }

    /// Makes the calls, and gives the names of those that were made.
    pub(crate) fn run(mut self) -> BTreeSet<&'static str> {
        let mut called = BTreeSet::new();
        for _ in 0..MOST_CALLS {
            if self.program.is_over() {
                break;
            }
            let (name, call) = self.program.one_of(&CALLS);
            call(&mut self);
            called.insert(name);
        }
        called
    }

    pub(crate) fn keep_tensor<E>(&mut self, made: Result<Tensor, E>) {
        self.tensors.extend(made);
        self.tensors.truncate(MOST_KEPT);
    }

    pub(crate) fn keep_body(&mut self, body: Body) {
        self.bodies.push(body);
        self.bodies.truncate(MOST_KEPT);
    }

    /// A tensor of the shelf; one of the machine's own where that is empty.
    pub(crate) fn tensor(&mut self) -> &Tensor {
        if self.tensors.is_empty() {
            self.keep_tensor(Tensor::from_fp32("x", &[2], &[1.0, 2.0]));
        }
        let at = self.program.below(self.tensors.len());
        &self.tensors[at]
    }

    pub(crate) fn body(&mut self) -> &Body {
        if self.bodies.is_empty() {
            self.keep_body(Body::new("text/plain", b"body"));
        }
        let at = self.program.below(self.bodies.len());
        &self.bodies[at]
    }

    /// A payload that is given away: other handles of tensors, or a body of the shelf.
    pub(crate) fn payload(&mut self) -> Payload {
        if self.program.flag() {
            self.body();
            let at = self.program.below(self.bodies.len());
            return Payload::Body(self.bodies.swap_remove(at));
        }
        let count = self.program.below(4);
        let tensors = (0..count).map(|_| {
            let name = self.program.text();
            self.tensor().with_name(&name)
        });
        Payload::Tensors(tensors.collect())
    }

    pub(crate) fn keep_payload(&mut self, payload: Payload) {
        match payload {
            Payload::Tensors(tensors) => {
                for tensor in tensors {
                    self.keep_tensor(Ok::<_, ()>(tensor));
                }
            }
            Payload::Body(body) => self.keep_body(body),
        }
    }
}
