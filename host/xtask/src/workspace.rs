//! How this program speaks, and how it runs other programs.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use wharf_toolchain::forget_outer_cargo;

use crate::paths::Paths;

/// Says what is done or was found. The output of the programs that run stays apart, on stdout.
pub(crate) fn say(subject: &str, text: &str) {
    eprintln!("{subject:>12}  {text}");
}

/// The cargo that runs this program, in the root of the repository.
pub(crate) fn cargo(paths: &Paths) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_outer_cargo(&mut command);
    command.current_dir(paths.root());
    command
}

/// Builds the server for everyday use.
///
/// An example is built beside it, the smallest: so dependencies get the features that the tests need, and are not built once more for
/// them.
pub(crate) fn build_server(paths: &Paths) -> Result<()> {
    let mut build = cargo(paths);
    build.args(["build", "--workspace"]);
    build.args(["--bin", "wharf", "--example", "bare_hyper"]);
    execute(&mut build)
}

/// Announces a command and runs it to its end, its output on this terminal.
///
/// # Errors
/// Where it cannot start, or ends with another status than 0.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command
        .get_args()
        .map(|argument| argument.to_string_lossy())
    {
        // A script given on the command line is no help on the terminal.
        shown.push_str(if argument.contains('\n') { " ..." } else { " " });
        shown.push_str(if argument.contains('\n') {
            ""
        } else {
            &argument
        });
    }
    say("running", &shown);
    let status = command
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}
