//! A Redis of the measurement's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::bench::process::Running;
use crate::setup::redis_server;

/// Round trips that are measured at a time; the median counts.
const PINGS: usize = 2000;

/// A server that keeps nothing on disk, on a socket in a folder of its own.
pub(super) struct Redis {
    folder: TempDir,
    _process: Running,
}

/// What Redis has done since its start.
pub(super) struct Work {
    /// Scripts that it ran for its clients.
    pub(super) scripts: f64,
    /// How often it read from a connection.
    pub(super) reads: f64,
}

impl Redis {
    /// Starts one, and waits until it answers.
    ///
    /// # Errors
    /// Where there is none and none can be installed, or it does not start.
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(redis_server()?);
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--loglevel", "warning"])
            .arg("--unixsocket")
            .arg(socket(&folder))
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null());
        let mut process = Running::start(&mut command)?;
        process.poll(Instant::now(), || {
            let mut connection = Connection::open(&folder).ok()?;
            connection.ping().ok()
        })?;
        Ok(Self {
            folder,
            _process: process,
        })
    }

    /// The settings of a server that counts quotas there.
    pub(super) fn store(&self) -> String {
        let socket = socket(&self.folder);
        format!(
            "store = \"redis\"\nredis_url = \"redis+unix://{}\"\n",
            socket.display()
        )
    }

    /// The median time from a PING to its answer.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) fn round_trip(&self) -> Result<Duration> {
        let mut connection = Connection::open(&self.folder)?;
        let mut times = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let began = Instant::now();
            connection.ping()?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        Ok(times[PINGS / 2])
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// Where it does not say.
    pub(super) fn work(&self) -> Result<Work> {
        let mut connection = Connection::open(&self.folder)?;
        let info = connection.info()?;
        Work::read(&info).with_context(|| format!("Redis says something else: {info}"))
    }
}

impl Work {
    fn read(info: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        };
        let calls = |command: &str| {
            let statistics = value(&format!("cmdstat_{command}"))?;
            let calls = statistics.split(',').next()?.strip_prefix("calls=")?;
            calls.parse::<f64>().ok()
        };
        // What no client has sent yet has no line.
        let scripts = ["eval", "evalsha", "fcall"].map(|command| calls(command).unwrap_or(0.0));
        Some(Self {
            scripts: scripts.iter().sum(),
            reads: value("total_reads_processed")?.parse().ok()?,
        })
    }
}

struct Connection(BufReader<UnixStream>);

impl Connection {
    fn open(folder: &TempDir) -> Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket(folder))?)))
    }

    fn ping(&mut self) -> Result<()> {
        self.0.get_mut().write_all(b"PING\r\n")?;
        let line = self.line()?;
        ensure!(line == "+PONG\r\n", "Redis answers PING with {line:?}");
        Ok(())
    }

    fn info(&mut self) -> Result<String> {
        self.0.get_mut().write_all(b"INFO all\r\n")?;
        let line = self.line()?;
        let length = line.trim_end().strip_prefix('$');
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .with_context(|| format!("Redis answers INFO with {line:?}"))?;
        let mut text = vec![0; length];
        self.0.read_exact(&mut text)?;
        Ok(String::from_utf8(text)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_redis_are_read() {
        let info = "# Stats\r\ntotal_reads_processed:41\r\n# Commandstats\r\n\
                    cmdstat_get:calls=90,usec=3\r\ncmdstat_evalsha:calls=30,usec=300,usec_per_call=10.00\r\n";
        let work = Work::read(info).unwrap();
        assert_eq!((work.scripts, work.reads), (30.0, 41.0));
        assert!(Work::read("# Stats\r\n").is_none());
    }
}
