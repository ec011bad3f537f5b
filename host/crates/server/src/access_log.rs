//! The access log: a line for each request and call, written when its answer has gone.
//!
//! A request leaves its line in a queue and goes on; a thread of its own writes. What the thread cannot keep up with is counted
//! and left out, so that a full disk or a slow pipe delays no request. A line never has a header field that carries
//! credentials, nor a query: both are where clients put secrets.

mod answered;
mod entry;
mod lines;
mod output;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot;

use crate::config::ConfigError;
use crate::metrics::{LineLost, LostLines};
pub(crate) use answered::Answered;
use entry::Record;
pub(crate) use entry::{Entry, Head, Notes, Protocol};
use output::Output;

/// Lines that wait to be written. Each is some hundred bytes.
const QUEUE: usize = 4096;
/// How long the end of the server waits for the lines that are left.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks whether there is room for the last word.
const PAUSE: Duration = Duration::from_millis(5);

/// The settings of the access log: the table `[server.access_log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogConfig {
    /// How lines look; `none` writes none.
    pub format: AccessLogFormat,
    /// `stdout`, `stderr`, or the path of a file, absolute or in the site. A file that is renamed or removed is opened anew.
    pub output: PathBuf,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            format: AccessLogFormat::None,
            output: "stdout".into(),
        }
    }
}

impl AccessLogConfig {
    /// Takes a relative path of a file for one in the site.
    pub(crate) fn in_site(&mut self, site: &Path) {
        if !Output::is_stream(&self.output) {
            self.output = site.join(&self.output);
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.output.as_os_str().is_empty() {
            let message = "is empty: use \"stdout\", \"stderr\" or the path of a file";
            return Err(ConfigError::new("access_log.output", message));
        }
        Ok(())
    }
}

/// How the lines of the access log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    /// There are none.
    #[default]
    None,
    /// The Combined Log Format, with what it has no place for behind it.
    Common,
    /// A JSON object each.
    Json,
}

/// Where the requests of one listener leave their lines.
#[derive(Clone)]
pub(crate) struct AccessLog {
    listener: &'static str,
    queue: SyncSender<Message>,
    lost: Arc<LostLines>,
}

enum Message {
    Line(Box<Record>),
    End,
}

/// The thread that writes.
pub(crate) struct Writer {
    queue: SyncSender<Message>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Opens the access log; nothing where none is to be written.
///
/// # Errors
/// Where the file cannot be opened, or no thread be started.
pub(crate) fn open(
    config: &AccessLogConfig,
    lost: LostLines,
) -> Result<Option<(AccessLog, Writer)>, ConfigError> {
    if config.format == AccessLogFormat::None {
        return Ok(None);
    }
    let wrong = |error: &std::io::Error| {
        let message = format!(
            "cannot be written to ({error}): name a file in a folder that this process may write to"
        );
        ConfigError::new("access_log.output", message)
    };
    let output = Output::open(&config.output).map_err(|error| wrong(&error))?;
    let lost = Arc::new(lost);
    let (queue, lines) = sync_channel(QUEUE);
    let (ending, ended) = oneshot::channel();
    let (format, counted) = (config.format, Arc::clone(&lost));
    let thread = std::thread::Builder::new()
        .name("wharf-access".to_owned())
        .spawn(move || {
            write(&lines, output, format, &counted);
            // Where nobody waits for it, the server is gone.
            let _ = ending.send(());
        })
        .map_err(|error| wrong(&error))?;
    let log = AccessLog {
        listener: "",
        queue: queue.clone(),
        lost,
    };
    let writer = Writer {
        queue,
        ended,
        thread,
    };
    Ok(Some((log, writer)))
}

impl AccessLog {
    /// The log of a listener.
    pub(crate) fn of(&self, listener: &'static str) -> Self {
        Self {
            listener,
            ..self.clone()
        }
    }

    /// Notes that a request began. Its line is written when the entry goes, however that happens.
    pub(crate) fn begin(&self, head: &Head<'_>, peer: Option<SocketAddr>) -> Entry {
        Entry::new(self.clone(), head, peer)
    }

    fn leave(&self, record: Box<Record>) {
        match self.queue.try_send(Message::Line(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.add(LineLost::Full, 1),
            // The server has ended, and this request outlasted it.
            Err(TrySendError::Disconnected(_)) => self.lost.add(LineLost::Failed, 1),
        }
    }
}

impl Writer {
    /// Waits until what was left is written. Where the output takes nothing any more, the thread ends with the process.
    pub(crate) async fn end(self) {
        let ending = async {
            while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::End) {
                tokio::time::sleep(PAUSE).await;
            }
            // An error says that the thread panicked, and so ended.
            let _ = self.ended.await;
        };
        match tokio::time::timeout(PATIENCE, ending).await {
            Ok(()) => {
                let _ = self.thread.join();
            }
            Err(_) => tracing::warn!("the last lines of the access log were not written"),
        }
    }
}

fn write(lines: &Receiver<Message>, mut output: Output, format: AccessLogFormat, lost: &LostLines) {
    loop {
        let message = match lines.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            // Nothing more for now: what there is must not wait for the next request.
            Err(TryRecvError::Empty) => {
                output.flush(lost);
                match lines.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        match message {
            Message::Line(record) => {
                output.line(lost, |line| lines::write(line, format, &record));
            }
            Message::End => break,
        }
    }
    output.flush(lost);
}

#[cfg(test)]
mod tests;
