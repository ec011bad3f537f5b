use wharf_core::{Datatype, Name, Shape};
use wharf_protobuf::Message;

use super::*;

fn dimension(name: &str) -> Message {
    match name.parse() {
        Ok(size) => Message::new().int(1, size),
        Err(_) => Message::new().bytes(2, name),
    }
}

fn value(name: &str, element: u64, shape: &[&str]) -> Message {
    let dimensions: Vec<Message> = shape.iter().map(|one| dimension(one)).collect();
    let shape = Message::new().messages(1, &dimensions);
    let tensor = Message::new().varint(1, element).message(2, &shape);
    Message::new()
        .bytes(1, name)
        .message(2, &Message::new().message(1, &tensor))
}

/// A site with one model of these inputs and outputs. There is nothing in it that could run.
fn site(inputs: &[Message], outputs: &[Message], settings: &str) -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let folder = site.path().join("models/m/1");
    std::fs::create_dir_all(&folder).unwrap();
    let graph = Message::new().messages(11, inputs).messages(12, outputs);
    let model = Message::new().varint(1, 8).message(7, &graph);
    std::fs::write(folder.join("model.onnx"), model.into_bytes()).unwrap();
    std::fs::write(site.path().join("models/m/model.toml"), settings).unwrap();
    std::fs::write(site.path().join("models/m/names.txt"), "cat\ndog\n").unwrap();
    site
}

fn load(site: &tempfile::TempDir) -> Result<Arc<dyn Model>, LoadError> {
    let engine = MockEngine::new();
    let folder = ModelFolder {
        site: site.path().to_owned(),
        name: Name::new("m").unwrap(),
    };
    let versions = engine.versions(&folder)?;
    engine.load(&versions.serve[0], &Cancel::default())
}

async fn ask(model: &dyn Model, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let request = wharf_testkit::request("m");
    Ok(model.infer(&request, inputs).await?.outputs)
}

#[tokio::test]
async fn outputs_are_as_long_as_the_inputs_make_them() {
    let inputs = [value("ids", 7, &["batch", "length"])];
    let outputs = [
        value("hidden", 1, &["batch", "length", "3"]),
        value("pooled", 11, &["other", "unknown", "2"]),
    ];
    let site = site(&inputs, &outputs, "");
    let model = load(&site).unwrap();
    assert_eq!(model.info().inputs[0].shape, [None, None]);
    let ids = Tensor::from_vec("ids", [2, 5], vec![1_i64; 10]).unwrap();
    let answer = ask(&*model, vec![ids.clone()]).await.unwrap();
    let shapes: Vec<&[u64]> = answer.iter().map(|one| &**one.shape()).collect();
    assert_eq!(shapes, [&[2, 5, 3][..], &[2, 1, 2]]);
    assert_eq!(answer[1].datatype(), Datatype::Fp64);
    let again = ask(&*model, vec![ids]).await.unwrap();
    assert_eq!(answer[0].data(), again[0].data());
    let other = Tensor::from_vec("ids", [2, 5], vec![2_i64; 10]).unwrap();
    let other = ask(&*model, vec![other]).await.unwrap();
    assert_ne!(answer[0].data(), other[0].data());
}

#[tokio::test]
async fn every_datatype_has_values_and_classes_have_their_names() {
    let numbered = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16];
    let outputs: Vec<Message> = numbered
        .iter()
        .map(|element| value(&format!("y{element}"), *element, &["n", "4"]))
        .collect();
    let settings = "[outputs.y8]\nclasses = \"names.txt\"\n[outputs.y7]\nclasses = \"names.txt\"\n";
    let site = site(&[value("x", 1, &["n"])], &outputs, settings);
    let model = load(&site).unwrap();
    let x = Tensor::from_vec("x", [3], vec![0_f32; 3]).unwrap();
    let answer = ask(&*model, vec![x]).await.unwrap();
    assert_eq!(answer.len(), numbered.len());
    for tensor in &answer {
        assert_eq!(*tensor.shape(), Shape::from([3, 4]));
    }
    let of = |name: &str| answer.iter().find(|one| one.name() == name).unwrap();
    let mut names = of("y8").elements().unwrap();
    assert!(names.all(|name| [b"cat", b"dog"].contains(&name.try_into().unwrap())));
    let indices = of("y7").as_slice::<i64>().unwrap();
    assert!(indices.iter().all(|index| (0..2).contains(index)));
}

#[tokio::test]
async fn what_the_model_would_refuse_is_refused() {
    let site = site(&[value("x", 1, &["n", "4"])], &[value("y", 1, &["n"])], "");
    let model = load(&site).unwrap();
    let x = Tensor::from_vec("x", [1, 3], vec![0_f32; 3]).unwrap();
    let error = ask(&*model, vec![x]).await.unwrap_err();
    assert_eq!(error.field(), Some("x"));
}

#[test]
fn what_could_not_be_loaded_is_refused() {
    let y = || value("y", 1, &["n"]);
    let unknown = site(&[value("x", 17, &["n"])], &[y()], "");
    assert!(load(&unknown).err().unwrap().message.contains("not served"));
    let missing = "[outputs.z]\nclasses = \"names.txt\"\n";
    let error = load(&site(&[], &[y()], missing)).err().unwrap();
    assert_eq!(error.key.as_deref(), Some("outputs.z"));
}

#[tokio::test]
async fn an_output_that_nothing_could_hold_is_refused() {
    let outputs = [value("y", 1, &["n", "4611686018427387904"])];
    let site = site(&[value("x", 1, &["n"])], &outputs, "");
    let model = load(&site).unwrap();
    let x = Tensor::from_vec("x", [1], vec![0_f32]).unwrap();
    let error = ask(&*model, vec![x]).await.unwrap_err();
    assert_eq!(error.field(), Some("y"));
}
