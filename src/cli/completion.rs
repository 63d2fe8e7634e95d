//! `quorate completion`: what shells need to complete the command line, from the definition that also makes the help.

use super::{Failure, UNEXPECTED};

const AFTER_HELP: &str = "\
Examples:
  bash:  quorate completion bash > ~/.local/share/bash-completion/completions/quorate
  zsh:   quorate completion zsh > \"${fpath[1]}/_quorate\"
  fish:  quorate completion fish > ~/.config/fish/completions/quorate.fish
  now:   source <(quorate completion bash)";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Into memory first: it does not expect its output to fail, which a pipe may.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "quorate", &mut script);
    let script = String::from_utf8(script).map_err(|error| Failure::new(UNEXPECTED, error))?;
    super::say(script.trim_end());
    Ok(())
}
