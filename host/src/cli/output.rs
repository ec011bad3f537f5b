//! What the commands write for people and programs.
//!
//! Whoever reads it may have seen enough, as `head` has after a line: a command goes on then, quietly, for neither what it does nor
//! the code that it exits with depends on its readers. `println!` would panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes to standard output.
///
/// # Errors
/// Where it cannot be written, such as to a full disk.
pub(crate) fn text(text: impl Display) -> Result<()> {
    written(&mut io::stdout().lock(), text).context("standard output cannot be written")
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`text`].
pub(crate) fn line(line: impl Display) -> Result<()> {
    text(format_args!("{line}\n"))
}

/// A size in a unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Writes a line to standard error.
pub(crate) fn notice(line: impl Display) {
    // Where nobody reads, there is nobody to tell.
    drop(writeln!(io::stderr(), "{line}"));
}

fn written(output: &mut impl Write, text: impl Display) -> io::Result<()> {
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that cannot be written.
    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_size_has_a_unit_that_fits() {
        assert_eq!(size(16), "16 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 20), "5.0 MiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one() {
        assert!(written(&mut Broken(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(written(&mut Broken(ErrorKind::StorageFull), "text").is_err());
    }
}
