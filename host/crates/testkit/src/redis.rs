//! A Redis server of a test's own.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::wait::eventually;

/// Names the program, where it is not the `redis-server` on PATH.
const VARIABLE: &str = "WHARF_TEST_REDIS";

/// A real `redis-server` that keeps nothing on disk. It listens on a socket in a folder of its own, so that tests that run at the same
/// time do not meet, and ends when this is dropped.
pub struct RedisServer {
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// Where there is no `redis-server`, or it does not answer.
    pub async fn start() -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            process: None,
        };
        server.restart().await;
        server
    }

    /// Where clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Ends it at once, with all that it knows.
    ///
    /// # Panics
    /// Where it cannot be ended.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child can be killed");
            process.wait().expect("a child can be waited for");
        }
    }

    /// Lets it hang: it takes connections, and answers nothing.
    ///
    /// # Panics
    /// Where the process takes no signal.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it answer again after [`RedisServer::pause`].
    ///
    /// # Panics
    /// Where the process takes no signal.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("it runs");
        let mut kill = Command::new("kill");
        let sent = kill.arg(signal).arg(process.id().to_string()).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill {signal} fails"
        );
    }

    /// Starts it again where it was, without what it knew, and waits until it answers.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub async fn restart(&mut self) {
        self.kill();
        let program = std::env::var_os(VARIABLE).unwrap_or_else(|| OsString::from("redis-server"));
        let started = Command::new(&program)
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--loglevel", "warning"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let program = program.display();
        let process = started.unwrap_or_else(|error| {
            panic!("{program} does not start ({error}): run `cargo xtask setup`, or name it in {VARIABLE}")
        });
        let process = self.process.insert(process);
        let socket = self.folder.path().join(SOCKET);
        eventually("redis answers", || {
            let ended = process.try_wait().expect("a child can be looked at");
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            answers(&socket)
        })
        .await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A test that fails is told why it failed, and not that its server is hard to end.
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

const SOCKET: &str = "redis.sock";

fn answers(socket: &Path) -> bool {
    let ping = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer == *b"+PONG")
    };
    ping().unwrap_or(false)
}
