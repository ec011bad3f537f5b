//! The guest that makes the calls which a program lists.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use wharf_sandbox::fuzzing::ImportsTarget;

static PUPPET: LazyLock<ImportsTarget> = LazyLock::new(|| {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("site");
    let path = guests().join("puppet.wasm");
    let component = fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the guests with `cargo xtask guests`",
            path.display()
        )
    });
    ImportsTarget::open(component, site)
});

/// Runs a program of host calls, and gives the functions that it called.
///
/// # Panics
/// Where the host does not bear it.
pub fn called(program: &[u8]) -> Vec<String> {
    PUPPET.run(program)
}

/// Where the guests are: `guests` in the target folder, which is some folder above this program.
fn guests() -> PathBuf {
    if let Some(folder) = env::var_os("WHARF_TEST_GUESTS") {
        return folder.into();
    }
    let program = env::current_exe().unwrap_or_default();
    let folder = program
        .ancestors()
        .map(|folder| folder.join("guests"))
        .find(|guests| guests.is_dir());
    folder.unwrap_or_else(|| "target/guests".into())
}
