//! Small guests written by hand, for what no toolchain makes.

/// A component with a preprocess stage whose core function is `process`, with `fields` of a core module around it.
///
/// The core function takes the request's handle, the case of the payload and its two words, and gives the address of the
/// result. It has to drop the request's handle with `$drop-request` before it ends.
pub(crate) fn preprocess(fields: &str) -> Vec<u8> {
    let text = PREPROCESS.replace("FIELDS", fields);
    wat::parse_str(text).unwrap()
}

/// The same with an import of WASI, as the toolchains of other languages make them.
pub(crate) fn with_wasi(fields: &str) -> Vec<u8> {
    let import = r#"(component
    (import "wasi:clocks/monotonic-clock@0.2.3" (instance (export "now" (func (result u64)))))"#;
    let text = PREPROCESS.replacen("(component", import, 1);
    wat::parse_str(text.replace("FIELDS", fields)).unwrap()
}

/// The same with pollables of WASI, of which the core function `$subscribe` makes one.
pub(crate) fn with_pollables(fields: &str) -> Vec<u8> {
    let import = r#"(component $whole
    (import "wasi:io/poll@0.2.3" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
        (alias outer $whole $pollable (type $aliased))
        (export "pollable" (type $its (eq $aliased)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $its))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))"#;
    let export = r#"(export "drop-request" (func $drop-request))"#;
    let text = PREPROCESS.replacen("(component", import, 1).replacen(
        export,
        &format!(r#"{export} (export "subscribe" (func $subscribe))"#),
        1,
    );
    let fields = format!(
        r#"(import "host" "subscribe" (func $subscribe (param i64) (result i32))) {fields}"#
    );
    wat::parse_str(text.replace("FIELDS", &fields)).unwrap()
}

/// Gives the payload back.
pub(crate) const ECHO: &str = r#"
    (func (export "process") (param i32 i32 i32 i32) (result i32)
        (call $drop-request (local.get 0))
        (i32.store8 (i32.const 0) (i32.const 0))
        (i32.store8 (i32.const 4) (local.get 1))
        (i32.store (i32.const 8) (local.get 2))
        (i32.store (i32.const 12) (local.get 3))
        (i32.const 0))
"#;

/// Never comes to an end.
pub(crate) const SPIN: &str = r#"
    (func (export "process") (param i32 i32 i32 i32) (result i32)
        (loop $forever (br $forever))
        (i32.const 0))
"#;

/// A filter whose functions have the names of the contract, and numbers for all that they take and give but the filter itself.
/// `interface` has its version, such as `token-filter@1.0.0`.
pub(crate) fn filter_of_other_types(interface: &str, portion: &str) -> Vec<u8> {
    let text = FILTER.replace("PORTION", portion);
    wat::parse_str(text.replace("INTERFACE", interface)).unwrap()
}

const PREPROCESS: &str = r#"
(component
    (type $types (instance
        (export "tensor" (type $tensor (sub resource)))
        (export "body" (type $body (sub resource)))
        (export "request" (type $request (sub resource)))
        (type $payload-shape (variant
            (case "tensors" (list (own $tensor)))
            (case "body" (own $body))))
        (export "payload" (type $payload (eq $payload-shape)))
        (type $invalid-shape (record (field "field" (option string)) (field "message" string)))
        (export "invalid-input" (type $invalid (eq $invalid-shape)))
        (type $error-shape (variant
            (case "invalid-input" $invalid)
            (case "not-found" string)
            (case "unavailable" string)
            (case "denied" string)
            (case "failed" string)))
        (export "error" (type $error (eq $error-shape)))
    ))
    (import "wharf:plugin/types@1.0.0" (instance $host (type $types)))
    (alias export $host "request" (type $request))
    (alias export $host "payload" (type $payload))
    (alias export $host "error" (type $error))
    (alias export $host "body" (type $body))
    (core module $memory
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 4096))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $memory (instantiate $memory))
    (core func $drop-request (canon resource.drop $request))
    (core module $guest
        (import "env" "memory" (memory 2))
        (import "host" "drop-request" (func $drop-request (param i32)))
        FIELDS)
    (core instance $guest (instantiate $guest
        (with "env" (instance $memory))
        (with "host" (instance (export "drop-request" (func $drop-request))))))
    (func $process (param "request" (borrow $request)) (param "input" $payload) (result (result $payload (error $error)))
        (canon lift (core func $guest "process")
            (memory (core memory $memory "memory"))
            (realloc (core func $memory "realloc"))))
    (component $stage
        (import "request" (type $request (sub resource)))
        (import "tensor" (type $tensor (sub resource)))
        (import "body" (type $body (sub resource)))
        (type $payload-shape (variant
            (case "tensors" (list (own $tensor)))
            (case "body" (own $body))))
        (import "payload" (type $payload (eq $payload-shape)))
        (type $invalid-shape (record (field "field" (option string)) (field "message" string)))
        (import "invalid-input" (type $invalid (eq $invalid-shape)))
        (type $error-shape (variant
            (case "invalid-input" $invalid)
            (case "not-found" string)
            (case "unavailable" string)
            (case "denied" string)
            (case "failed" string)))
        (import "error" (type $error (eq $error-shape)))
        (import "process" (func $process
            (param "request" (borrow $request)) (param "input" $payload) (result (result $payload (error $error)))))
        (export "process" (func $process)))
    (alias export $host "tensor" (type $tensor))
    (alias export $host "invalid-input" (type $invalid))
    (instance $stage (instantiate $stage
        (with "request" (type $request))
        (with "tensor" (type $tensor))
        (with "body" (type $body))
        (with "payload" (type $payload))
        (with "invalid-input" (type $invalid))
        (with "error" (type $error))
        (with "process" (func $process))))
    (export "wharf:plugin/preprocess@1.0.0" (instance $stage))
)
"#;

const FILTER: &str = r#"
(component
    (type $filter (resource (rep i32)))
    (core module $m
        (func (export "open") (result i32) (i32.const 0))
        (func (export "push") (param i32 i32) (result i32) (i32.const 0))
        (func (export "finish") (param i32) (result i32) (i32.const 0)))
    (core instance $m (instantiate $m))
    (func $open (result (own $filter)) (canon lift (core func $m "open")))
    (func $push (param "self" (borrow $filter)) (param "PORTION" u32) (result u32)
        (canon lift (core func $m "push")))
    (func $finish (param "self" (borrow $filter)) (result u32) (canon lift (core func $m "finish")))
    (component $stage
        (import "filter" (type $filter (sub resource)))
        (import "open" (func $open (result (own $filter))))
        (import "push" (func $push (param "self" (borrow $filter)) (param "PORTION" u32) (result u32)))
        (import "finish" (func $finish (param "self" (borrow $filter)) (result u32)))
        (export $out "filter" (type $filter))
        (export "open" (func $open) (func (result (own $out))))
        (export "[method]filter.push" (func $push)
            (func (param "self" (borrow $out)) (param "PORTION" u32) (result u32)))
        (export "[method]filter.finish" (func $finish)
            (func (param "self" (borrow $out)) (result u32))))
    (instance $stage (instantiate $stage
        (with "filter" (type $filter))
        (with "open" (func $open))
        (with "push" (func $push))
        (with "finish" (func $finish))))
    (export "wharf:plugin/INTERFACE" (instance $stage))
)
"#;
