//! The command line: one binary for those who run nodes and those who use them.
//!
//! Thin on purpose: a command reads its settings, calls the library, and turns the outcome into text and an exit
//! code. What a command reports goes to stdout; what went wrong goes to stderr as **one line** that begins with
//! `quorate:` and says what to do, because it is read in a service's log as often as on a terminal.
//!
//! Exit codes say what the caller has to know next, which is not the same for a node as for a request. `serve`, `demo`, `health`,
//! `check`, `recover` and `wal inspect` have these:
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or stopped as asked |
//! | 1 | unexpected; also: `health` found the node not healthy, `bench` met more errors than it was to |
//! | 2 | usage: a flag, a setting, a port or a directory; nothing was started |
//! | 3 | damaged data |
//! | 4 | the disk failed |
//! | 5 | the identity was refused by the cluster, or the node was removed from it |
//!
//! The commands that ask a cluster (`remote`) have these, from `remote/exit.rs`:
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | not found, or a condition did not hold: nothing was changed |
//! | 2 | usage: a flag, a setting, a value that no cluster would take |
//! | 3 | unavailable: not done, later it may be |
//! | 4 | unknown: a write may have been done |
//! | 5 | the output could not be written |

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

mod bench;
mod check;
mod completion;
mod demo;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod health;
mod http;
mod recover;
mod remote;
mod serve;
mod settings;
mod values;
mod wal_inspect;

/// Nothing more than asked for.
const SUCCESS: u8 = 0;
/// Something that nobody foresaw.
const UNEXPECTED: u8 = 1;
/// The caller's to mend: flags, settings, ports, directories.
const USAGE: u8 = 2;
/// Data that is not what was written.
const DAMAGED: u8 = 3;
/// The cluster does not know this directory under its id.
const REFUSED: u8 = 5;

const AFTER_HELP: &str = "\
Examples:
  quorate demo                               three nodes on this machine, to try things with
And beside it, in another terminal:
  quorate set user:1001 'John Doe'
  quorate get user:1001
  quorate list user:
  quorate txn 'if absent lock then put lock me else get lock'
  quorate status                             every node in one table
In earnest:
  quorate serve --id 1 --data-dir /var/lib/quorate --initial-cluster 1=127.0.0.1:7001
                                             a cluster of one node
  quorate bench put --clients 64             load a cluster and measure it

Each command's --help has more. Commands that ask a cluster find it by --endpoints, QUORATE_ENDPOINTS or
~/.config/quorate/client.toml; their exit codes: 0 done, 1 not found or a condition did not hold, 2 usage,
3 unavailable, 4 unknown outcome. Of commands that run a node or read its directory: 0 done or stopped,
1 unexpected (health: not healthy; bench: too many errors), 2 usage, port or directory, 3 damaged data, 4 disk failure,
5 identity refused or removed.";

/// A linearizable, replicated key-value store
#[derive(Debug, clap::Parser)]
#[command(name = "quorate", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Demo(demo::Args),
    #[command(flatten)]
    Remote(Box<remote::Command>),
    Serve(Box<serve::Args>),
    Bench(Box<bench::Args>),
    Health(health::Args),
    Check(check::Args),
    Recover(recover::Args),
    /// Look into a node's log
    #[command(subcommand, arg_required_else_help = true)]
    Wal(WalCommand),
    Completion(completion::Args),
}

#[derive(Debug, clap::Subcommand)]
enum WalCommand {
    Inspect(wal_inspect::Args),
}

/// How a command ended that did not do what was asked: an exit code and one line of text.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl fmt::Display) -> Failure {
        Failure { code, text: text.to_string() }
    }

    /// A failure that the caller mends.
    fn usage(text: impl fmt::Display) -> Failure {
        Failure::new(USAGE, text)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match parse(std::env::args_os()) {
        Ok(cli) => run(cli.command),
        Err(error) => report_usage(&error),
    };
    match outcome {
        Ok(()) => ExitCode::from(SUCCESS),
        Err(failure) => {
            let args: Vec<String> = std::env::args().collect();
            say_error(&with_sources(&failure, &args, |name| std::env::var_os(name).is_some()));
            ExitCode::from(failure.code)
        }
    }
}

/// Reads the arguments. Values of variables stay out of the help text: it is the same on every machine.
fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches)
}

fn command() -> clap::Command {
    fn without_values(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_values)
    }
    without_values(Cli::command())
}

/// The arguments of a command and of all below it.
fn arguments(command: &clap::Command) -> Vec<&clap::Arg> {
    let below = command.get_subcommands().flat_map(arguments);
    command.get_arguments().chain(below).collect()
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Remote(command) => remote::run(&command),
        Command::Serve(args) => serve::run(*args),
        Command::Bench(args) => bench::run(*args),
        Command::Health(args) => health::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Wal(WalCommand::Inspect(args)) => wal_inspect::run(&args),
        Command::Completion(args) => completion::run(&args),
    }
}

/// Help goes to stdout as asked; a mistake becomes one line.
fn report_usage(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away early (`| head`) is not an error.
            let _ = error.print();
            Ok(())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Err(Failure::usage("a command is missing: see above"))
        }
        _ => Err(Failure::usage(one_line(&error.render().to_string()))),
    }
}

/// clap's report without its usage part: the mistake and the tips, joined.
fn one_line(report: &str) -> String {
    let said = report.lines().map(str::trim).filter(|line| !line.is_empty());
    let kept: Vec<&str> = said.take_while(|line| !line.starts_with("Usage:")).collect();
    let kept = kept.into_iter().filter(|line| !line.starts_with("For more information"));
    let text = kept.collect::<Vec<_>>().join("; ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    format!("{text} (see --help)")
}

/// A mistake is told by the setting's flag, since that is what `--help` lists. Where the value came from a variable
/// instead, that is what is to be mended: it is named too.
fn with_sources(failure: &Failure, args: &[String], is_set: impl Fn(&str) -> bool) -> String {
    let mut text = failure.text.clone();
    if failure.code != USAGE {
        return text;
    }
    let command = command();
    let mut variables: Vec<&str> = arguments(&command)
        .into_iter()
        .filter_map(|setting| {
            let flag = format!("--{}", setting.get_long()?);
            let variable = setting.get_env()?.to_str()?;
            let is_flag = |arg: &String| arg.split('=').next() == Some(flag.as_str());
            let is_part = |c: char| !c.is_ascii_alphanumeric() && c != '-';
            let is_named = failure.text.split(is_part).any(|word| word == flag);
            (is_named && !args.iter().any(is_flag) && is_set(variable)).then_some(variable)
        })
        .collect();
    variables.sort_unstable();
    variables.dedup();
    if !variables.is_empty() {
        text.push_str(&format!(" (set by {})", variables.join(", ")));
    }
    text
}

/// Tells stderr what went wrong. There is nobody to tell if stderr is gone.
fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "quorate: {text}");
}

/// Prints a line to stdout; false if nobody reads any more.
fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split_whitespace().map(Into::into))
    }

    fn failure(line: &str) -> Failure {
        let error = parse_text(line).expect_err("the line is wrong");
        report_usage(&error).expect_err("a mistake is a failure")
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_mistake_is_one_line_with_exit_code_2() {
        for (line, part) in [
            ("quorate serve --idd 1", "unexpected argument '--idd'"),
            ("quorate serve --id one", "invalid value 'one' for '--id"),
            ("quorate serve --id 1 --id 2", "cannot be used multiple times"),
            ("quorate serve --heartbeat-interval 5", "needs a unit"),
            ("quorate demo --nodes 8", "8 is not in 1..=7"),
            ("quorate demo --nodes 0", "0 is not in 1..=7"),
            ("quorate frobnicate", "unrecognized subcommand"),
            ("quorate wal inspect", "<DIR>"),
            ("quorate check", "<DIR>"),
            ("quorate check /d --format xml", "xml"),
            ("quorate recover", "--data-dir"),
            ("quorate recover --data-dir d --accept-data-loss", "--id"),
            ("quorate recover --data-dir d --revision-jump 5", "5 is not in"),
            ("quorate demo --flag-from-nowhere", "--flag-from-nowhere"),
            ("quorate get", "<KEY>"),
            ("quorate get k --output xml", "xml"),
            ("quorate get k --timeout 5", "needs a unit"),
            ("quorate get k --endpoints a:1,", "an address is empty"),
            ("quorate set k", "VALUE"),
            ("quorate set k v --file f", "cannot be used with"),
            ("quorate set k v --create --if-revision 3", "cannot be used with"),
            ("quorate del", "KEY"),
            ("quorate del k --range a b", "cannot be used with"),
            ("quorate del p --prefix --if-revision 3", "cannot be used with"),
            ("quorate list --limit 0", "0 is not in"),
            ("quorate list p --from a", "cannot be used with"),
            ("quorate cas k", "EXPECTED"),
            ("quorate member add", "<HOST:PORT>"),
            ("quorate member update 4", "--peer"),
            ("quorate leader transfer two", "two"),
            ("quorate completion tcsh", "tcsh"),
        ] {
            let failure = failure(line);
            assert_eq!(failure.code, USAGE, "{line}");
            assert!(failure.text.contains(part), "{line}: {:?}", failure.text);
            assert!(
                !failure.text.contains('\n') && !failure.text.contains("Usage"),
                "{line}: {:?}",
                failure.text
            );
        }
    }

    #[test]
    fn a_variable_is_named_where_the_value_came_from_it() {
        let failure = Failure::usage("--heartbeat-interval is 0: use 1ms or more");
        let set = |name: &str| ["QUORATE_HEARTBEAT_INTERVAL", "QUORATE_ID"].contains(&name);
        let args = |line: &str| line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        let text = with_sources(&failure, &args("quorate serve"), set);
        assert_eq!(text, format!("{} (set by QUORATE_HEARTBEAT_INTERVAL)", failure.text));
        for line in ["quorate serve --heartbeat-interval 0ms", "quorate serve --heartbeat-interval=0ms"] {
            assert_eq!(with_sources(&failure, &args(line), set), failure.text, "the flag wins");
        }
        assert_eq!(with_sources(&failure, &args("quorate serve"), |_| false), failure.text);
        let clap = Failure::usage("invalid value 'x' for '--id <N>': no");
        assert!(with_sources(&clap, &args("quorate serve"), set).ends_with("(set by QUORATE_ID)"));
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        for line in [
            "quorate --help",
            "quorate --version",
            "quorate serve --help",
            "quorate wal inspect --help",
            "quorate member add --help",
        ] {
            let error = parse_text(line).expect_err("clap reports help as an error");
            assert!(!error.use_stderr(), "{line}");
        }
    }

    /// The command lines in a help text, without what a shell would do with them and what is said beside them.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let joined = help.replace("\\\n", " ");
        let begins = |line: &str| line.starts_with("  ") && line.trim_start().starts_with("quorate ");
        let lines = joined.lines().filter(|line| begins(line)).map(str::trim_start);
        lines.map(|line| words(line.split("  ").next().unwrap_or(line))).collect()
    }

    /// Splits as a shell does, up to a pipe, a redirection or a comment.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote): (Vec<String>, Option<String>, _) = (Vec::new(), None, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if open == c => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, '|' | '>' | '<' | '#' | ';') => break,
                (None, ' ') => words.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn the_examples_in_the_help_are_understood() {
        fn helps(command: &mut clap::Command) -> Vec<String> {
            let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let below = command.get_subcommands_mut().flat_map(helps).collect::<Vec<_>>();
            [vec![own], below].concat()
        }
        let mut count = 0;
        for example in helps(&mut command()).iter().flat_map(|help| examples(help)) {
            let parsed = parse(example.iter().map(Into::into));
            assert!(parsed.is_ok(), "{example:?}: {}", parsed.expect_err("it is not"));
            count += 1;
        }
        assert!(count > 60, "only {count} examples were found");
    }

    #[test]
    fn nothing_turns_fsync_off() {
        let help = command().render_long_help().to_string();
        let mut all = command();
        let parts = all.get_subcommands_mut().map(|sub| sub.render_long_help().to_string());
        for text in parts.chain([help]) {
            let text = text.to_lowercase();
            assert!(!text.contains("fsync") && !text.contains("unsafe"), "{text}");
        }
    }
}
