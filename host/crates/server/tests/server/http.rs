//! HTTP, and the Open Inference Protocol over REST.

mod plugins;

mod absent;
mod admin;
mod described;
mod drain;
pub(crate) mod http2;
mod infer;
mod oip;
mod oip_binary;
mod stream;
mod transport;

use std::sync::Arc;

use wharf_server::Config;
use wharf_testkit::Site;

use crate::support::{Running, Setup, local};

const ECHO: &str = "input x FP32 * 2\noutput x_out FP32 * 2";
const PAIR: &str = "input a INT64 *\ninput b BOOL *\noutput a_out INT64 *\noutput b_out BOOL *";

/// Settings with short times: a test waits for them.
fn config() -> Config {
    Config {
        header_timeout_ms: 1000,
        body_timeout_ms: 500,
        idle_timeout_ms: 5000,
        write_timeout_ms: 5000,
        drain_timeout_ms: 10_000,
        ..local()
    }
}

/// Starts a server with models `echo` (FP32 [*, 2] to the same), `pair` (two inputs, two outputs), `words` (BYTES [*]) and
/// `slow`, which waits at the gate; and with a route `picture` whose stages read and write bodies.
async fn start(config: Config) -> Running {
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.model("slow", 1, &format!("{ECHO}\ngate slow"));
    site.model("pair", 1, PAIR);
    site.model("words", 1, "input w BYTES *\noutput w BYTES *");
    site.plugin("bytes", "");
    site.route(
        "picture",
        "model = \"echo\"\npre = [\"bytes\"]\npost = [\"bytes\"]\n",
    );
    site.route("narrow", "model = \"slow\"\nmax_in_flight = 1\n");
    start_with(config, site).await
}

/// Starts a server on a site.
async fn start_with(config: Config, site: Site) -> Running {
    let plugins = Arc::new(plugins::FakePlugins);
    let setup = Setup::new(config, site);
    Setup { plugins, ..setup }.start().await
}
