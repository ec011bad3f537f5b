//! The Open Inference Protocol over gRPC.

mod cancelled;
mod frames;
mod health;
mod infer;
mod management;
mod stream;

use wharf_server::Config;
use wharf_testkit::Site;

use crate::support::{Running, Setup, local};

/// Settings with short times: a test waits for them.
fn config() -> Config {
    Config {
        body_timeout_ms: 500,
        max_body_bytes: 1 << 20,
        ..local()
    }
}

/// Starts a server with models `echo` (FP32 [*, 2] to the same), `pair` (two inputs, two outputs), `slow`, which waits at
/// the gate, and one for each datatype; and with a route `picture` whose stages read and write bodies.
async fn start() -> Running {
    start_with(config()).await
}

async fn start_with(config: Config) -> Running {
    const ECHO: &str = "input x FP32 * 2\noutput y FP32 * 2";
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.model("slow", 1, &format!("{ECHO}\ngate slow"));
    site.model("large", 1, "input x FP32 *\noutput y FP32 *");
    site.model("full", 1, &format!("{ECHO}\nno-room"));
    let pair =
        "input a INT64 *\ninput b BOOL * optional\noutput a_out INT64 *\noutput b_out BOOL *";
    site.model("pair", 1, pair);
    for datatype in wharf_core::Datatype::ALL {
        let name = format!("of-{}", datatype.name().to_ascii_lowercase());
        let script = format!("input x {datatype} *\noutput y {datatype} *");
        site.model(&name, 1, &script);
    }
    site.model("numbers", 1, "");
    site.plugin("text", "");
    let picture = "model = \"numbers\"\npre = [\"text\"]\npost = [\"text\"]\n";
    site.route("picture", picture);
    Setup::new(config, site).start().await
}
