//! Every import, called by a guest that makes the calls which its input lists.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use wasmtime::Trap;
use wharf_core::{
    Body, BoxFuture, Error, ErrorKind, Headers, ModelCalls, Name, Payload, PluginFile, PluginHost,
    RequestContext, Result, Scheduling,
};

use super::{eventually, sandbox};
use crate::abilities::NAMES;
use crate::bindings::v1::{self, Answer, Job};
use crate::cache::Tier;
use crate::contract::Contract;
use crate::fault::Fault;
use crate::instance::{GuestInstance, InstanceFactory};
use crate::{Config, Limits, Sandbox, SecretSource};

/// Every ability, each so small that a program reaches its bounds. Nobody listens on the port.
const SETTINGS: &str = "\
[grants.state]
entries = 16
kb = 64
key_bytes = 64
[grants.model]
targets = ['echo', 'refuse', 'gone', 'x']
calls = 2
[grants.codec]
max_pixels = 100000
max_text_kb = 64
[grants.codec.tokenizers]
words = 'models/words/tokenizer.json'
[grants.http]
origins = ['http://127.0.0.1:9']
timeout_ms = 200
request_kb = 64
[grants.secret]
names = ['token']
[limits]
memory_mb = 48
handles = 256
host_call_mb = 8
output_mb = 8
log_lines_per_second = 10
fault_lines_per_second = 1
";

/// The call of `puppet` after which its instance keeps what nobody can give back.
const LEAVES: &str = "leave a handle behind";

/// What the canonical ABI says where a guest misuses a handle. wasmtime has no types for it.
const MISUSES: [&str; 4] = [
    "unknown handle index",
    "used with the wrong type",
    "cannot remove owned resource while borrowed",
    "borrow handles still remain",
];

/// The guest, and the host that serves its calls.
pub struct ImportsTarget {
    runtime: Runtime,
    factory: InstanceFactory,
    _models: Arc<Models>,
    _sandbox: Sandbox,
}

impl ImportsTarget {
    /// Prepares the guest `puppet`, with the files of a site.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn open(component: Vec<u8>, site: PathBuf) -> Self {
        let secret = SecretSource {
            file: Some("secrets/token".into()),
            env: None,
        };
        let config = Config {
            max_instances: 8,
            secrets: [("token".to_owned(), secret)].into(),
            limits: Limits::default(),
            ..Config::default()
        };
        let sandbox = sandbox(config).expect("a sandbox can be made");
        let models = Arc::new(Models);
        let port: Arc<dyn ModelCalls> = Arc::clone(&models) as _;
        sandbox.connect(Arc::downgrade(&port));
        let file = PluginFile {
            site,
            name: Name::new("puppet").expect("it is a name"),
        };
        let release = sandbox.release(&file, component.into(), SETTINGS.into());
        let release = release.expect("the settings are good");
        let factory = sandbox
            .prepare(&release, Tier::Optimised)
            .expect("the guest is good")
            .factory;
        // Declares its metrics, too.
        let tried = sandbox.try_out(&factory, "plugins/puppet.wasm");
        tried.expect("the guest starts");
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime can be made"),
            factory,
            _models: models,
            _sandbox: sandbox,
        }
    }

    /// Runs a program, and gives the functions that it called. Whatever the program is, the host is as it was before.
    ///
    /// # Panics
    /// Where it is not, or where a call fails by a fault that is not the guest's.
    pub fn run(&self, program: &[u8]) -> Vec<String> {
        self.runtime.block_on(async {
            let mut instance = self.start().await;
            let called = self.call(&mut instance, program).await;
            // The host answers a plain call, by this instance where it is sound, and by another.
            if let Some(called) = &called {
                assert_eq!(self.call(&mut instance, b"").await, Some(Vec::new()));
                if !called.iter().any(|name| name == LEAVES) {
                    // Threads of codecs and connections let go a moment later.
                    let kept = || instance.state().kept();
                    eventually("handles or data are kept", || kept() == (true, 0)).await;
                }
            }
            drop(instance);
            let mut another = self.start().await;
            assert_eq!(self.call(&mut another, b"").await, Some(Vec::new()));
            called.unwrap_or_default()
        })
    }

    async fn start(&self) -> Box<GuestInstance> {
        let started = self.factory.start().await;
        started.unwrap_or_else(|error| panic!("no instance can be started: {error:?}"))
    }

    /// What a program called; none where the guest came to no sound end.
    async fn call(&self, instance: &mut GuestInstance, program: &[u8]) -> Option<Vec<String>> {
        let input = Payload::Body(Body {
            media_type: "application/octet-stream".into(),
            data: Bytes::copy_from_slice(program),
        });
        let request = request();
        let called = instance.call(&request, Job::Preprocess(input), Instant::now());
        let answer = match called.await {
            Ok(Some(Ok(Answer::Payload(Payload::Body(body))))) => body,
            Ok(_) => panic!("the guest gave something else than a body"),
            Err(error) => {
                self.blame(error);
                return None;
            }
        };
        let names = String::from_utf8(answer.data.to_vec()).expect("the names are text");
        drop(answer);
        let limit = u64::from(self.factory.plugin.limits.memory_mb) << 20;
        let memory = instance.memory_bytes();
        let (_, held) = instance.state().kept();
        assert!(memory + held <= limit, "{memory} and {held} bytes are held");
        Some(names.lines().map(str::to_owned).collect())
    }

    /// Takes a fault of the guest, and no other.
    fn blame(&self, error: wasmtime::Error) {
        let Fault::Trap(error) = Fault::of(error, &self.factory.plugin.limits) else {
            return;
        };
        let text = format!("{error:#}");
        let misuse = MISUSES.iter().any(|misuse| text.contains(misuse));
        let of_the_guest = misuse || error.downcast_ref::<Trap>().is_some();
        assert!(of_the_guest, "a host function failed: {error:?}");
    }
}

/// Every function that a guest may import, as `INTERFACE.FUNCTION`.
#[must_use]
pub fn functions() -> Vec<String> {
    let contract = Contract::v1();
    let interfaces = v1::IMPORTS.iter().chain(NAMES);
    let named = interfaces.flat_map(|interface| {
        let functions = contract.functions(interface).into_iter();
        functions.map(move |(name, _)| format!("{interface}.{name}"))
    });
    named.collect()
}

fn request() -> Arc<RequestContext> {
    static HEADERS: LazyLock<Headers> = LazyLock::new(|| {
        let mut fields = http::HeaderMap::new();
        fields.insert("x", http::HeaderValue::from_static("y"));
        fields.insert(
            "host",
            http::HeaderValue::from_bytes(b"\xfc").expect("a field may hold it"),
        );
        Headers::new(fields)
    });
    Arc::new(RequestContext {
        id: "fuzzed".into(),
        route: "fuzzed".into(),
        tenant: Some("acme".into()),
        headers: HEADERS.clone(),
        deadline: Instant::now() + Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        scheduling: Scheduling::default(),
        depth: 0,
    })
}

/// Targets that give their input back, or refuse.
struct Models;

impl Models {
    fn answer(target: &str, input: Payload) -> Result<Payload> {
        match target {
            "refuse" => Err(Error::invalid("input", "refused")),
            "gone" => Err(Error::new(ErrorKind::NotFound, "there is none")),
            _ => Ok(input),
        }
    }
}

impl ModelCalls for Models {
    fn call<'a>(
        &'a self,
        _request: &'a Arc<RequestContext>,
        target: &'a str,
        _version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async { Self::answer(target, input) })
    }

    fn mirror(
        &self,
        _request: &Arc<RequestContext>,
        target: &str,
        _version: Option<&str>,
        input: Payload,
    ) -> Result<()> {
        Self::answer(target, input).map(drop)
    }
}
