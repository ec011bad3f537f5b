use std::cell::RefCell;
use std::rc::Rc;

use wharf_plugin_sdk::model::Call;
use wharf_plugin_sdk::testing::serve_model;
use wharf_plugin_sdk::{Body, Error, Payload, Preprocess, Request, Tensor, log, testing};

use crate::Shadow;

/// What the target was called with.
type Calls = Rc<RefCell<Vec<Call>>>;

/// Serves a target that answers nothing, and keeps what it was called with.
fn target(name: &str) -> Calls {
    let calls = Calls::default();
    let kept = Rc::clone(&calls);
    serve_model(name, move |call| {
        kept.borrow_mut().push(call);
        Err(Error::failed("nobody sees this"))
    });
    calls
}

fn shadow(settings: &str) -> Shadow {
    testing::plugin(settings).unwrap()
}

fn tensor() -> Tensor {
    Tensor::new("x", &[2], &[1.0f32, 2.0]).unwrap()
}

fn by_user(index: usize) -> Request {
    Request::new("rank").with_header("X-User", &format!("user-{index}"))
}

/// Which of so many users the target sees.
fn seen(settings: &str, count: usize) -> Vec<bool> {
    let calls = target("next");
    let plugin = shadow(settings);
    (0..count)
        .map(|index| {
            let before = calls.borrow().len();
            plugin.preprocess(&by_user(index), tensor().into()).unwrap();
            calls.borrow().len() > before
        })
        .collect()
}

fn share(seen: &[bool]) -> f64 {
    seen.iter().filter(|seen| **seen).count() as f64 / seen.len() as f64
}

fn counted() -> Vec<&'static str> {
    let values = testing::take_values().into_iter();
    values.map(|(name, _)| name).collect()
}

#[test]
fn tensors_go_to_both() {
    let calls = target("next");
    let settings = r#"{"target": "next", "version": "2", "percent": 100}"#;
    let inputs = vec![tensor(), tensor().with_name("y")];
    let passed = shadow(settings).preprocess(&Request::new("rank"), inputs.into());
    let mirrored = calls.borrow_mut().remove(0);
    assert_eq!(mirrored.version.as_deref(), Some("2"));
    for tensors in [passed.unwrap(), mirrored.input].map(|payload| payload.tensors().unwrap()) {
        let names: Vec<String> = tensors.iter().map(Tensor::name).collect();
        assert_eq!(names, ["x", "y"]);
        assert_eq!(tensors[1].fp32().unwrap(), [1.0, 2.0]);
    }
    assert_eq!(counted(), ["shadow_mirrored_total"]);
}

#[test]
fn a_body_goes_to_both() {
    let calls = target("next");
    let input = Payload::from(Body::new("text/plain; charset=utf-8", b"a ship"));
    let plugin = shadow(r#"{"target": "next", "percent": 100}"#);
    let passed = plugin.preprocess(&Request::new("embed"), input).unwrap();
    let mirrored = calls.borrow_mut().remove(0).input;
    for body in [passed, mirrored].map(|payload| payload.body().unwrap()) {
        assert_eq!(body.media_type(), "text/plain; charset=utf-8");
        assert_eq!(body.bytes(), b"a ship");
    }
}

#[test]
fn a_share_is_mirrored_and_users_stay() {
    let settings = |percent: f64| {
        format!(r#"{{"target": "next", "percent": {percent}, "sticky_header": "x-user"}}"#)
    };
    let (some, more) = (seen(&settings(10.0), 10_000), seen(&settings(30.0), 10_000));
    // Four standard deviations of a share of 0.1 in 10,000 draws are 0.012.
    assert!((share(&some) - 0.1).abs() < 0.012, "{}", share(&some));
    assert_eq!(some, seen(&settings(10.0), 10_000));
    assert!(some.iter().zip(&more).all(|(some, more)| some <= more));
    assert_eq!(share(&seen(&settings(0.0), 1000)), 0.0);
}

#[test]
fn a_request_without_the_header_is_drawn_alone() {
    let calls = target("next");
    let plugin = shadow(r#"{"target": "next", "percent": 50, "sticky_header": "x-user"}"#);
    for index in 0..400 {
        let request = Request::new("rank").with_id(&format!("request-{index}"));
        let request = request.with_header("x-user", "");
        plugin.preprocess(&request, tensor().into()).unwrap();
    }
    let mirrored = calls.borrow().len();
    assert!((140..260).contains(&mirrored), "{mirrored} of 400");
}

#[test]
fn what_is_not_mirrored_is_counted_and_never_refused() {
    let plugin = shadow(r#"{"target": "nobody", "percent": 100}"#);
    let passed = plugin.preprocess(&Request::new("rank"), tensor().into());
    assert_eq!(passed.unwrap().tensor("x").unwrap().shape(), [2]);
    assert_eq!(counted(), ["shadow_refused_total"]);
    let lines = testing::take_lines();
    assert_eq!(lines[0].level, log::Level::Warn);
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"percent": 1}"#, "target"),
        (r#"{"target": "", "percent": 1}"#, "target"),
        (r#"{"target": "a"}"#, "percent"),
        (r#"{"target": "a", "percent": 101}"#, "percent"),
        (r#"{"target": "a", "percent": -1}"#, "percent"),
        (r#"{"target": "a", "percent": 1, "version": ""}"#, "version"),
        (r#"{"target": "a", "percent": 1, "version": 2}"#, "version"),
        (
            r#"{"target": "a", "percent": 1, "sticky_header": "x user"}"#,
            "sticky_header",
        ),
        (r#"{"target": "a", "percent": 1, "share": 1}"#, "share"),
    ] {
        let error = testing::plugin::<Shadow>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}");
    }
}
