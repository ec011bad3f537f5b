//! `cargo xtask test`: every test, after all the set-up that they need.

use anyhow::Result;
use wharf_toolchain::{JavaScriptToolchain, PythonToolchain};

use crate::abi;
use crate::paths::Paths;
use crate::setup;
use crate::workspace::{cargo, execute};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// Handed to `cargo test` in the workspace of the host, such as `-p wharf-serving`. Then only those tests run.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    /// Runs the tests; the first step that fails is the error.
    pub(crate) fn run(&self, paths: &Paths) -> Result<()> {
        let setup = setup::for_tests(paths)?;
        // The end-to-end tests start the binary. It is built together with all tests, because a package built alone gets
        // other features, and its dependencies a second time.
        execute(cargo(paths).args(["build", "--workspace", "--all-targets"]))?;

        let everything = self.arguments.is_empty();
        let mut host = cargo(paths);
        host.arg("test").args(&self.arguments);
        if everything {
            host.arg("--workspace");
        }
        execute(
            host.env("WHARF_ONNXRUNTIME", &setup.onnxruntime)
                .env("WHARF_TEST_PYTHON", &setup.python)
                .env("WHARF_TEST_REDIS", setup.redis)
                .env("WHARF_TEST_GUESTS", paths.guests())
                .env("WHARF_TEST_MINILM", &setup.minilm.model)
                .env("WHARF_TEST_MINILM_WHEEL", &setup.minilm.wheel)
                .env("WHARF_TEST_TYPESCRIPT", &setup.typescript)
                .env("WHARF_TEST_BROWSER", setup.browser)
                // `wharf plugin build` finds there what builds plugins in Python and JavaScript.
                .env(PythonToolchain::VARIABLE, &setup.python)
                .env(JavaScriptToolchain::VARIABLE, &setup.node_modules),
        )?;
        if !everything {
            return Ok(());
        }
        // Plugins are native programs here: their stages are called without a host.
        execute(
            cargo(paths)
                .args([
                    "test",
                    "--workspace",
                    "--manifest-path",
                    "plugins/Cargo.toml",
                ])
                .arg("--target-dir")
                .arg(paths.target()),
        )?;
        abi::check(paths, &setup.onnxruntime)
    }
}
