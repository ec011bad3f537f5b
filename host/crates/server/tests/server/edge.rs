//! The edge of the server: TLS, other sites' pages, compression, limits by route, the access log, and the operators' token.

mod certificates;
mod metrics;

mod access_log;
mod compression;
mod cors;
mod limits;
mod mtls;
mod operators;
mod reload;
mod tls;

use wharf_server::Config;
use wharf_testkit::Site;

use crate::support::{Setup, local};

const ECHO: &str = "input x FP32 * 2\noutput x_out FP32 * 2";
const GOOD: &str = r#"{"input": [1, 2]}"#;

/// Settings with short times: a test waits for them.
fn config() -> Config {
    Config {
        header_timeout_ms: 1000,
        body_timeout_ms: 5000,
        drain_timeout_ms: 10_000,
        ..local()
    }
}

/// A server with models `echo` (FP32 [*, 2] to the same) and `slow`, which waits at the gate, that is to start.
fn setup(config: Config) -> Setup {
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.model("slow", 1, &format!("{ECHO}\ngate slow"));
    Setup::new(config, site)
}
