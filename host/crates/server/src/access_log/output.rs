//! Where the lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::metrics::{LineLost, LostLines};

/// Lines are written together up to this size.
const BATCH: usize = 64 << 10;
/// How often a file is looked for under its name: whoever rotates logs renames it.
const LOOK: Duration = Duration::from_secs(1);
/// How often a failure is logged.
const WARN: Duration = Duration::from_secs(60);

/// What takes the lines, and those that it has not got yet.
pub(super) struct Output {
    target: Target,
    pending: Vec<u8>,
    lines: u64,
    warned: Option<Instant>,
}

enum Target {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        file: File,
        looked: Instant,
    },
}

impl Output {
    /// Whether a name is that of a stream of the process, and no path.
    pub(super) fn is_stream(name: &Path) -> bool {
        name == Path::new("stdout") || name == Path::new("stderr")
    }

    pub(super) fn open(name: &Path) -> io::Result<Self> {
        let target = match name.to_str() {
            Some("stdout") => Target::Stdout,
            Some("stderr") => Target::Stderr,
            _ => Target::File {
                path: name.to_owned(),
                file: append(name)?,
                looked: Instant::now(),
            },
        };
        Ok(Self {
            target,
            pending: Vec::new(),
            lines: 0,
            warned: None,
        })
    }

    /// Adds a line.
    pub(super) fn line(&mut self, lost: &LostLines, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.pending);
        self.lines += 1;
        if self.pending.len() >= BATCH {
            self.flush(lost);
        }
    }

    /// Writes what there is. What cannot be written is counted, and not tried again: lines that wait for a full disk would take
    /// the memory.
    pub(super) fn flush(&mut self, lost: &LostLines) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.target.write(&self.pending) {
            lost.add(LineLost::Failed, self.lines);
            if self.warned.is_none_or(|warned| warned.elapsed() >= WARN) {
                self.warned = Some(Instant::now());
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        self.pending.clear();
        self.lines = 0;
    }
}

impl Target {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stream = io::stdout().lock();
                stream.write_all(lines)?;
                stream.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(lines),
            Self::File { path, file, looked } => {
                if looked.elapsed() >= LOOK {
                    *looked = Instant::now();
                    follow(path, file);
                }
                file.write_all(lines)
            }
        }
    }
}

/// Opens the file anew where another one, or none, has its name. Where that fails, the old one is written on.
fn follow(path: &Path, file: &mut File) {
    let place = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    let named = path.metadata().ok().map(|metadata| place(&metadata));
    let open = file.metadata().ok().map(|metadata| place(&metadata));
    if named != open
        && let Ok(new) = append(path)
    {
        *file = new;
    }
}

/// Readable by its owner and group alone: who asked what is nobody else's business.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        // Opening a named pipe without a reader fails, where it would wait.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
impl Output {
    /// Makes it look at the next write whether the file has its name still.
    pub(super) fn look_now(&mut self) {
        if let Target::File { looked, .. } = &mut self.target {
            *looked -= LOOK;
        }
    }
}
