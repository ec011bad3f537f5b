//! Devices and their memory.

use wharf_engine::DeviceMemory;

use crate::support::{FakeProbe, Site, onnx};

const GIBIBYTE: u64 = 1 << 30;

#[test]
fn cuda_without_a_device_is_a_clear_error() {
    let site = Site::with_probe(FakeProbe::default());
    let error = site.refusal(&onnx::add(1.0), "[instances]\ndevice = \"cuda:0\"");
    assert_eq!(
        (error.file.as_str(), error.key.as_deref()),
        ("models/m/model.toml", Some("instances.device"))
    );
    assert!(
        error
            .message
            .contains("no CUDA device was found; use device = \"cpu\""),
        "{error}"
    );
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let memory = DeviceMemory {
        free: GIBIBYTE,
        total: GIBIBYTE,
    };
    let site = Site::with_probe(FakeProbe {
        cpu: None,
        cuda: [(0, memory)].into(),
    });
    let error = site.refusal(&onnx::add(1.0), "[instances]\ndevice = \"cuda:3\"");
    assert!(error.message.contains("no CUDA device 3"), "{error}");
}

#[test]
fn a_library_without_cuda_is_a_clear_error() {
    let memory = DeviceMemory {
        free: GIBIBYTE,
        total: GIBIBYTE,
    };
    let site = Site::with_probe(FakeProbe {
        cpu: None,
        cuda: [(7, memory)].into(),
    });
    let error = site.refusal(&onnx::add(1.0), "[instances]\ndevice = \"cuda:7\"");
    assert_eq!(error.key.as_deref(), Some("instances.device"));
    assert!(error.message.contains("CUDA"), "{error}");
}

#[test]
fn a_load_that_cannot_fit_is_refused() {
    let full = DeviceMemory {
        free: 100,
        total: GIBIBYTE,
    };
    let site = Site::with_probe(FakeProbe {
        cpu: Some(full),
        cuda: [(0, full)].into(),
    });
    for device in ["cpu", "cuda:0"] {
        let error = site.refusal(
            &onnx::add(1.0),
            &format!("[instances]\ndevice = \"{device}\""),
        );
        assert_eq!(error.key.as_deref(), Some("instances.device"));
        assert!(error.message.contains("the model needs about"), "{error}");
    }
}

#[test]
fn each_of_several_devices_is_checked() {
    let memory = DeviceMemory {
        free: GIBIBYTE,
        total: GIBIBYTE,
    };
    let site = Site::with_probe(FakeProbe {
        cpu: None,
        cuda: [(0, memory)].into(),
    });
    let error = site.refusal(
        &onnx::add(1.0),
        "[instances]\ndevices = [\"cuda:0\", \"cuda:1\"]",
    );
    assert_eq!(error.key.as_deref(), Some("instances.devices"));
    assert!(error.message.contains("no CUDA device 1"), "{error}");

    let model = site.serve(
        &onnx::add(1.0),
        "[instances]\ndevices = [\"cpu\"]\ncount = 3",
    );
    assert_eq!(
        (model.info().device.as_str(), model.info().instances),
        ("cpu", 3)
    );
}
