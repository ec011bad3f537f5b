//! What the server and its models say of themselves, and what clients may change.

use std::collections::BTreeMap;

use tonic::Code;
use wharf_server::inference::infer_parameter::ParameterChoice as Choice;
use wharf_server::inference::model_infer_request::InferRequestedOutputTensor;
use wharf_server::inference::model_repository_parameter::ParameterChoice;
use wharf_server::inference::{
    CudaSharedMemoryRegisterRequest, CudaSharedMemoryStatusRequest,
    CudaSharedMemoryUnregisterRequest, LogSettingsRequest, ModelConfigRequest,
    ModelMetadataRequest, ModelReadyRequest, ModelRepositoryParameter, ModelStatisticsRequest,
    RepositoryIndexRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
    ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryStatusRequest,
    SystemSharedMemoryUnregisterRequest, TraceSettingRequest,
};

use super::start;
use crate::support::grpc::{Call, bytes_of, floats, frame, parameter, text};

#[tokio::test]
async fn a_server_says_what_it_is() {
    let server = start().await;
    let mut client = server.client().await;
    let live = client.server_live(ServerLiveRequest {}).await.unwrap();
    let ready = client.server_ready(ServerReadyRequest {}).await.unwrap();
    assert!(live.into_inner().live && ready.into_inner().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await;
    let metadata = metadata.unwrap().into_inner();
    assert_eq!(metadata.name, "wharf");
    assert!(metadata.extensions.contains(&"statistics".to_owned()));

    let model = ModelReadyRequest {
        name: "echo".to_owned(),
        version: String::new(),
    };
    assert!(client.model_ready(model).await.unwrap().into_inner().ready);
    // What there is not is not ready, as Triton has it.
    for (name, version) in [("none", ""), ("echo", "7"), ("echo", "canary")] {
        let none = ModelReadyRequest {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let answer = client.model_ready(none).await.unwrap().into_inner();
        assert!(!answer.ready, "{name} {version}");
    }
    let none = ModelReadyRequest {
        name: "../none".to_owned(),
        version: String::new(),
    };
    let status = client.model_ready(none).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_model_says_what_it_takes() {
    let server = start().await;
    let mut client = server.client().await;
    let asked = ModelMetadataRequest {
        name: "echo".to_owned(),
        version: "1".to_owned(),
    };
    let metadata = client.model_metadata(asked).await.unwrap().into_inner();
    assert_eq!(metadata.name, "echo");
    assert_eq!(metadata.versions, ["1"]);
    let input = &metadata.inputs[0];
    assert_eq!(
        (&*input.name, &*input.datatype, &*input.shape),
        ("x", "FP32", &[-1, 2][..])
    );
    let asked = ModelConfigRequest {
        name: "echo".to_owned(),
        version: String::new(),
    };
    let config = client
        .model_config(asked)
        .await
        .unwrap()
        .into_inner()
        .config;
    let config = config.unwrap();
    assert_eq!(config.name, "echo");
    assert_eq!((config.input[0].data_type, config.output.len()), (11, 1));
    assert_eq!(
        config
            .model_transaction_policy
            .map(|policy| policy.decoupled),
        Some(false)
    );
}

#[tokio::test]
async fn statistics_count_requests() {
    let server = start().await;
    let mut client = server.client().await;
    client
        .model_infer(floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    let asked = ModelStatisticsRequest {
        name: "echo".to_owned(),
        version: String::new(),
    };
    let statistics = client.model_statistics(asked).await.unwrap().into_inner();
    let model = &statistics.model_stats[0];
    assert_eq!(
        (&*model.name, &*model.version, model.inference_count),
        ("echo", "1", 1)
    );
    let stats = model.inference_stats.unwrap();
    assert_eq!(stats.success.unwrap().count, 1);
    assert!(stats.cache_hit.is_some() && stats.queue.is_some());
    let all = client
        .model_statistics(ModelStatisticsRequest::default())
        .await;
    assert!(all.unwrap().into_inner().model_stats.len() > 1);
}

#[tokio::test]
async fn models_are_loaded_and_unloaded() {
    let server = start().await;
    let mut client = server.client().await;
    let asked = RepositoryIndexRequest {
        ready: true,
        ..RepositoryIndexRequest::default()
    };
    let index = client.repository_index(asked).await.unwrap().into_inner();
    let echo = index
        .models
        .iter()
        .find(|model| model.name == "echo")
        .unwrap();
    assert_eq!((&*echo.version, &*echo.state), ("1", "READY"));

    let parameter = |value| {
        BTreeMap::from([(
            "unload_dependents".to_owned(),
            ModelRepositoryParameter {
                parameter_choice: Some(value),
            },
        )])
    };
    let mut unload = RepositoryModelUnloadRequest {
        model_name: "echo".to_owned(),
        parameters: parameter(ParameterChoice::Int64Param(1)),
        ..RepositoryModelUnloadRequest::default()
    };
    let status = client
        .repository_model_unload(unload.clone())
        .await
        .unwrap_err();
    assert_eq!(
        status.message(),
        "parameters.unload_dependents: is true or false"
    );
    unload.parameters = parameter(ParameterChoice::BoolParam(false));
    client.repository_model_unload(unload).await.unwrap();
    let status = client
        .model_infer(floats("echo", &[1.0, 2.0]))
        .await
        .unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    let load = RepositoryModelLoadRequest {
        model_name: "echo".to_owned(),
        ..RepositoryModelLoadRequest::default()
    };
    client.repository_model_load(load).await.unwrap();
    client
        .model_infer(floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    let mut unknown = RepositoryModelLoadRequest {
        model_name: "echo".to_owned(),
        ..RepositoryModelLoadRequest::default()
    };
    unknown.parameters = parameter(ParameterChoice::BoolParam(true));
    let status = client.repository_model_load(unknown).await.unwrap_err();
    let named = "parameters.unload_dependents: a load has no such parameter";
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with(named), "{status:?}");
    let mut unknown = RepositoryModelUnloadRequest {
        model_name: "echo".to_owned(),
        ..RepositoryModelUnloadRequest::default()
    };
    let value = ModelRepositoryParameter {
        parameter_choice: Some(ParameterChoice::BoolParam(true)),
    };
    unknown.parameters.insert("made_up".to_owned(), value);
    let status = client.repository_model_unload(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let none = RepositoryModelLoadRequest {
        model_name: "none".to_owned(),
        ..RepositoryModelLoadRequest::default()
    };
    let status = client.repository_model_load(none).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    server.is_well().await;
}

#[tokio::test]
async fn shared_memory_is_listed() {
    let server = start().await;
    let mut client = server.client().await;
    let asked = SystemSharedMemoryStatusRequest::default();
    let status = client.system_shared_memory_status(asked).await.unwrap();
    assert!(status.into_inner().regions.is_empty());
    let asked = SystemSharedMemoryRegisterRequest {
        name: "r".to_owned(),
        key: "../etc/passwd".to_owned(),
        offset: 0,
        byte_size: 8,
    };
    let status = client
        .system_shared_memory_register(asked)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let asked = SystemSharedMemoryUnregisterRequest::default();
    client.system_shared_memory_unregister(asked).await.unwrap();

    let asked = CudaSharedMemoryStatusRequest::default();
    let status = client.cuda_shared_memory_status(asked).await.unwrap();
    assert!(status.into_inner().regions.is_empty());
    let asked = CudaSharedMemoryRegisterRequest::default();
    let status = client.cuda_shared_memory_register(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let asked = CudaSharedMemoryUnregisterRequest::default();
    client.cuda_shared_memory_unregister(asked).await.unwrap();
}

/// A browser that is led here by somebody else's name speaks no gRPC; what it could send is refused all the same.
#[tokio::test]
async fn another_name_than_this_machines_may_change_nothing() {
    let server = start().await;
    for (host, code) in [("evil.example", 7), ("localhost:8080", 0), ("127.0.0.1", 0)] {
        let path = "/inference.GRPCInferenceService/SystemSharedMemoryUnregister";
        let call = Call::begin_at(server.address, (host, path), &[]).await;
        assert_eq!(call.finish(frame(0, &[])).await.code, code, "{host}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn settings_are_told() {
    let server = start().await;
    let mut client = server.client().await;
    let settings = client.trace_setting(TraceSettingRequest::default()).await;
    let settings = settings.unwrap().into_inner().settings;
    assert!(settings.contains_key("trace_level"), "{settings:?}");
    // The test lends the server no log.
    let status = client.log_settings(LogSettingsRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn tensors_go_through_shared_memory() {
    let server = start().await;
    let mut client = server.client().await;
    let key = format!("/wharf-grpc-{}", std::process::id());
    let path = format!("/dev/shm{key}");
    let content = [bytes_of(&[0.0, 0.0]), bytes_of(&[1.0, 2.0])].concat();
    std::fs::write(&path, content).unwrap();
    let region = SystemSharedMemoryRegisterRequest {
        name: "r".to_owned(),
        key: key.clone(),
        offset: 0,
        byte_size: 16,
    };
    client.system_shared_memory_register(region).await.unwrap();
    let asked = SystemSharedMemoryStatusRequest::default();
    let status = client.system_shared_memory_status(asked).await.unwrap();
    assert_eq!(status.into_inner().regions["r"].key, key);

    let number = |number| parameter(Choice::Int64Param(number));
    let at = |offset| {
        BTreeMap::from([
            ("shared_memory_region".to_owned(), text("r")),
            ("shared_memory_byte_size".to_owned(), number(8)),
            ("shared_memory_offset".to_owned(), number(offset)),
        ])
    };
    let mut request = floats("echo", &[0.0, 0.0]);
    request.raw_input_contents.clear();
    request.inputs[0].parameters = at(8);
    request.outputs = vec![InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: at(0),
    }];
    let answer = client
        .model_infer(request.clone())
        .await
        .unwrap()
        .into_inner();
    // The entry is there all the same.
    assert_eq!(answer.raw_output_contents, [bytes_of(&[])]);
    assert_eq!(
        answer.outputs[0].parameters["shared_memory_region"],
        text("r")
    );
    let expected = [bytes_of(&[1.0, 2.0]), bytes_of(&[1.0, 2.0])].concat();
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    request.inputs[0].parameters = at(16);
    let status = client.model_infer(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("inputs.x: "), "{status}");
    std::fs::remove_file(path).unwrap();
}
