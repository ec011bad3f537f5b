//! What the elements of outputs mean, as `model.toml` says.

use std::sync::Arc;

use wharf_core::{LoadError, TensorSpec};

use crate::site::Source;

/// Adds the classes to the outputs.
///
/// # Errors
/// Where the model has no output of a name, or a file of classes is no text or empty; the error names the key.
pub(super) fn with_classes(
    outputs: &[TensorSpec],
    source: &Source,
) -> Result<Vec<TensorSpec>, LoadError> {
    let mut outputs = outputs.to_vec();
    for (name, known) in &source.settings.outputs {
        let key = format!("outputs.{}", LoadError::key_part(name));
        let wrong = |key: String, message: String| {
            Err(LoadError::new(source.settings_label.clone(), message).with_key(key))
        };
        let Some(output) = outputs.iter_mut().find(|output| *output.name == **name) else {
            let names: Vec<String> = outputs
                .iter()
                .map(|output| format!("{:?}", &*output.name))
                .collect();
            let message = format!(
                "the model has no such output; its outputs are {}",
                names.join(", ")
            );
            return wrong(key, message);
        };
        let Some(file) = &known.classes else { continue };
        let text = source.files.get(file).map_or(&[][..], |bytes| bytes);
        match parse(text) {
            Ok(classes) => output.classes = Some(classes),
            Err(why) => return wrong(format!("{key}.classes"), format!("{file:?} {why}")),
        }
    }
    Ok(outputs)
}

/// Reads the names, a line each. What follows the last line break is a line only where there is something.
fn parse(text: &[u8]) -> Result<Arc<[Arc<str>]>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8; save the file as UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let classes: Arc<[Arc<str>]> = text
        .lines()
        .map(|line| Arc::from(line.trim_end()))
        .collect();
    if classes.is_empty() {
        return Err("is empty; write the name of each class, a line each");
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_class() {
        let read = |text: &str| -> Vec<String> {
            let classes = parse(text.as_bytes()).unwrap();
            classes.iter().map(|class| class.to_string()).collect()
        };
        assert_eq!(read("cat\ndog\n"), ["cat", "dog"]);
        assert_eq!(
            read("\u{feff}grüße \r\n\r\nsea lion"),
            ["grüße", "", "sea lion"]
        );
        assert!(parse(b"").is_err());
        assert!(parse(b"\xff").is_err());
    }
}
