//! Metadata, the model repository, shared memory, and the settings of log and traces, over REST; and the management of a site.

mod log;

mod access;
mod artifacts;
mod claims;
mod documents;
mod models;
mod observing;
mod parts;
mod repository;
mod shared_memory;

use std::sync::Arc;

use wharf_server::Config;
use wharf_testkit::Site;

use crate::support::{Running, Setup, local};

/// A request to the model `echo`, or to another that takes the same.
const ROW: &str = r#"{"input": [1, 2]}"#;

/// A server with a model `echo` (FP32 [*, 2] to the same), a model `labelled` with joined rows and classes, and a
/// route `picture` whose stages read and write bodies.
fn setup() -> Setup {
    let site = Site::new();
    site.model("echo", 1, "input x FP32 * 2\noutput x_out FP32 * 2");
    site.model(
        "labelled",
        1,
        "input x FP32 * 3\ninput mask BOOL * 3 optional\noutput y FP32 * 3\noutput m BOOL * 3\n\
         max-rows 8\nclasses cat dog bird",
    );
    site.plugin("bytes", "");
    site.route(
        "picture",
        "model = \"echo\"\npre = [\"bytes\"]\npost = [\"bytes\"]\n",
    );
    let config = Config {
        max_body_bytes: 1 << 20,
        max_bodies_bytes: 4 << 20,
        ..local()
    };
    let logging = Arc::new(log::FakeLog::default());
    Setup {
        logging: Some(logging),
        ..Setup::new(config, site)
    }
}

async fn start() -> Running {
    setup().start().await
}
