//! A look at a component before it is compiled: whether it is one at all, and small enough to be.
//!
//! The compiler cannot be interrupted, and its time and memory follow the size of the code; so what would take minutes or
//! gigabytes is refused by size here. Nothing is compiled, and reading takes one pass.

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;

use crate::Config;

/// Refuses what is no component, or a component beyond the caps. Gives how many bytes of code there are to compile.
///
/// # Errors
/// A sentence that says what the bytes are and how to mend it.
pub(crate) fn inspect(component: &[u8], config: &Config) -> Result<usize, String> {
    if component.is_empty() {
        return Err("the file is empty; it may still be being copied".to_owned());
    }
    if Engine::detect_precompiled(component).is_some() || component.starts_with(b"\x7fELF") {
        return Err(
            "this is machine code made ahead of time, which the host only takes from its own cache; \
             put the component itself here"
                .to_owned(),
        );
    }
    if !component.starts_with(b"\0asm") {
        return Err(
            "this is no whole WebAssembly component: it does not begin with \"\\0asm\"; it may still be being copied"
                .to_owned(),
        );
    }
    within(
        "the component",
        component.len(),
        config.component_mb,
        "MiB",
        20,
        "component_mb",
    )?;
    let mut size = CodeSize::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| {
            format!(
                "this is no whole WebAssembly component ({error}); it may still be being copied"
            )
        })?;
        match payload {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding == Encoding::Module {
                    return Err(
                        "this is a core module, not a component; build it for wasm32-wasip2, or make a component of it \
                         with `wasm-tools component new`"
                            .to_owned(),
                    );
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionEntry(body) => size.add(body.range().len()),
            _ => {}
        }
    }
    size.check(config)?;
    Ok(size.bytes)
}

/// How much there is to compile.
#[derive(Default)]
struct CodeSize {
    functions: usize,
    bytes: usize,
    largest: usize,
}

impl CodeSize {
    fn add(&mut self, bytes: usize) {
        self.functions += 1;
        self.bytes += bytes;
        self.largest = self.largest.max(bytes);
    }

    fn check(&self, config: &Config) -> Result<(), String> {
        within(
            "the component's code",
            self.bytes,
            config.component_code_mb,
            "MiB",
            20,
            "component_code_mb",
        )?;
        within(
            "a function of the component",
            self.largest,
            config.function_kb,
            "KiB",
            10,
            "function_kb",
        )?;
        let most = config.component_functions;
        if self.functions > most as usize {
            return Err(format!(
                "the component has {} functions; the cap is plugins.component_functions = {most}",
                self.functions
            ));
        }
        Ok(())
    }
}

fn within(
    what: &str,
    bytes: usize,
    most: u32,
    unit: &str,
    shift: u32,
    setting: &str,
) -> Result<(), String> {
    if bytes as u64 > u64::from(most) << shift {
        return Err(format!(
            "{what} has {bytes} bytes; the cap is plugins.{setting} = {most} ({unit})"
        ));
    }
    Ok(())
}
