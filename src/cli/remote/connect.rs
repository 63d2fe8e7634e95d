//! Where the cluster is and how answers are printed: what all commands that ask a cluster have in common.
//!
//! A setting has one name in three places: `--some-name`, `QUORATE_SOME_NAME`, and `some-name` below `[client]` in a TOML file.
//! Precedence is as for `serve`: defaults, then the file, then variables, then flags. The file is the one that `--config`
//! names, else `client.toml` in the user's own configuration directory, if that is there. A node's file will do: its
//! other settings mean nothing here, and `serve` lets a `[client]` table be.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};

use super::super::Failure;
use super::super::settings::complaint;
use super::super::values::Span;
use super::exit;
use super::output::{Color, Format, Out};
use crate::client;
use crate::client::blocking::Client;

/// Where `quorate demo` serves gRPC.
const ENDPOINTS_DEFAULT: &str = "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Addresses, as `host:port,host:port` or, in the file, as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Endpoints(Vec<String>);

impl FromStr for Endpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoints, String> {
        let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        if parts.iter().any(String::is_empty) {
            return Err("an address is empty: write host:port,host:port".to_owned());
        }
        Ok(Endpoints(parts))
    }
}

impl<'de> Deserialize<'de> for Endpoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Endpoints, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"host:port,host:port\", or a list of such strings")]
        enum Written {
            Text(String),
            List(Vec<String>),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::List(list) => list.join(","),
        };
        text.parse().map_err(D::Error::custom)
    }
}

/// What was said about the connection and the output, in one place or in all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in super::super) struct Settings {
    /// Where nodes serve gRPC; one that answers is enough, the others are learnt from it [default: 127.0.0.1:9001 to 9003,
    /// the demo's]
    #[arg(long, env = "QUORATE_ENDPOINTS", value_name = "HOST:PORT,...", help_heading = "Connection")]
    endpoints: Option<Endpoints>,
    /// How long the cluster may take for an answer, retries included [default: 5s]
    #[arg(long, env = "QUORATE_TIMEOUT", value_name = "TIME", help_heading = "Connection")]
    timeout: Option<Span>,
    /// How the answer is printed: table, for people; plain, for scripts: columns between tabs; json: an object a line
    /// [default: table; of get: plain]
    #[arg(short, long, env = "QUORATE_OUTPUT", value_name = "FORMAT", help_heading = "Output")]
    #[arg(hide_possible_values = true)]
    output: Option<Format>,
    /// Colours: auto (on a terminal or with CLICOLOR_FORCE, unless NO_COLOR is set), always, never [default: auto]
    #[arg(long, env = "QUORATE_COLOR", value_name = "WHEN", help_heading = "Output")]
    #[arg(hide_possible_values = true)]
    color: Option<Color>,
}

/// Flattened into every command that asks a cluster.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    settings: Settings,
    /// A TOML file whose [client] table has any of these settings, named as the flags are [default:
    /// ~/.config/quorate/client.toml, if there is one]
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE", help_heading = "Connection")]
    config: Option<PathBuf>,
}

/// What is left when everything that was said is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// Where nodes are.
    pub endpoints: Vec<String>,
    timeout: Duration,
    output: Format,
    color: Color,
}

impl Settings {
    /// These settings, and `file`'s where they say nothing.
    fn or(self, file: Settings) -> Settings {
        Settings {
            endpoints: self.endpoints.or(file.endpoints),
            timeout: self.timeout.or(file.timeout),
            output: self.output.or(file.output),
            color: self.color.or(file.color),
        }
    }

    /// Reads the `[client]` table of a file's text.
    fn parse(text: &str) -> Result<Settings, String> {
        /// A client's settings, and those that stand where a node's do: there they would do nothing, and nobody would say so.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct File {
            client: Settings,
            endpoints: Option<IgnoredAny>,
            timeout: Option<IgnoredAny>,
            output: Option<IgnoredAny>,
            color: Option<IgnoredAny>,
        }
        let keys = "the [client] table has endpoints, timeout, output and color";
        let file: File = toml::from_str(text).map_err(|error| complaint(text, &error, keys))?;
        let misplaced = [
            ("endpoints", file.endpoints),
            ("timeout", file.timeout),
            ("output", file.output),
            ("color", file.color),
        ];
        match misplaced.into_iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(format!("{key} stands outside of its table: write [client] above it")),
            None => Ok(file.client),
        }
    }

    /// With defaults where nothing was said.
    fn settle(self, output: Format) -> Settled {
        let Endpoints(endpoints) = self
            .endpoints
            .unwrap_or_else(|| Endpoints(ENDPOINTS_DEFAULT.split(',').map(ToOwned::to_owned).collect()));
        Settled {
            endpoints,
            timeout: self.timeout.map_or(TIMEOUT_DEFAULT, |span| span.0),
            output: self.output.unwrap_or(output),
            color: self.color.unwrap_or_default(),
        }
    }
}

impl Common {
    /// Connects, lets `command` ask and print, and ends both in order. `output` is the command's format, unless another one
    /// was asked for.
    pub(super) fn run(
        &self,
        output: Format,
        command: impl FnOnce(&Client, &mut Out, &Settled) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let settled = self.settled(output)?;
        let builder = client::Client::builder().endpoints(&settled.endpoints).deadline(settled.timeout);
        let client = Client::connect(builder).map_err(|error| {
            let failure = exit::failure(&error);
            let advice = match error.kind() {
                client::ErrorKind::Unavailable => {
                    format!(" (asked: {}; --endpoints names others)", settled.endpoints.join(", "))
                }
                _ => String::new(),
            };
            Failure::new(failure.code, failure.text + &advice)
        })?;
        let mut out = Out::stdout(settled.output, settled.color);
        let outcome = command(&client, &mut out, &settled);
        // What a failed command printed comes before its complaint; and its failure counts for more than the output's.
        let printed = out.finish();
        outcome.and(printed)
    }

    fn settled(&self, output: Format) -> Result<Settled, Failure> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => match users_file(|name| std::env::var_os(name).map(PathBuf::from)) {
                Some(path) if path.exists() => read(&path)?,
                _ => Settings::default(),
            },
        };
        Ok(self.settings.clone().or(file).settle(output))
    }
}

fn read(path: &Path) -> Result<Settings, Failure> {
    let wrong = |error: String| Failure::usage(format!("the configuration {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Settings::parse(&text).map_err(wrong)
}

/// Where the user's own settings are, by the rules of the XDG base directories.
fn users_file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let own = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let directory = own.or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(directory.join("quorate/client.toml"))
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn a_setting_has_one_name_in_all_three_places() {
        let command = Settings::augment_args(clap::Command::new("test"));
        for arg in command.get_arguments() {
            let name = arg.get_long().expect("every setting is a long flag");
            let variable = format!("QUORATE_{}", name.to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "--{name}");
            let below = Settings::parse(&format!("[client]\n{name} = [[]]")).expect_err("no array of arrays");
            assert!(!below.contains("unknown field"), "{below}");
            let beside = Settings::parse(&format!("{name} = 1")).expect_err("it is misplaced");
            assert!(beside.contains("write [client] above it"), "{beside}");
        }
        let error = toml::from_str::<Settings>("no-such-key = 1").expect_err("unknown").to_string();
        assert_eq!(error.matches('`').count() / 2 - 1, command.get_arguments().count(), "{error}");
    }

    #[test]
    fn what_is_said_first_wins() {
        let file = "id = 1\n[client]\nendpoints = [\"a:1\", \"b:2\"]\ntimeout = \"1s\"\noutput = \"json\"";
        let file = Settings::parse(file).expect("the file is right");
        let flags = Settings { timeout: Some(Span(Duration::from_secs(9))), ..Settings::default() };
        let settled = flags.or(file).settle(Format::Plain);
        assert_eq!(settled.endpoints, ["a:1", "b:2"]);
        assert_eq!(
            (settled.timeout, settled.output, settled.color),
            (Duration::from_secs(9), Format::Json, Color::Auto)
        );
        let none = Settings::default().settle(Format::Plain);
        assert_eq!((none.endpoints.len(), none.output, none.timeout), (3, Format::Plain, TIMEOUT_DEFAULT));
    }

    #[test]
    fn the_file_is_judged_in_one_line() {
        for (text, part) in [
            ("[client]\nendpoint = \"a:1\"", "line 2: unknown field `endpoint` (the [client] table has"),
            ("[client]\nendpoints = \"a:1,\"", "an address is empty"),
            ("[client]\nendpoints = 1", "a list of such strings"),
            ("[client]\noutput = \"xml\"", "line 2: unknown variant `xml`"),
            ("[client]\ntimeout = \"5\"", "needs a unit"),
        ] {
            let error = Settings::parse(text).expect_err(text);
            assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error:?}");
        }
        assert_eq!(
            Settings::parse("id = 1"),
            Ok(Settings::default()),
            "a node's file that says nothing of clients"
        );
    }

    #[test]
    fn the_users_file_is_where_the_desktop_puts_it() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/u"));
        assert_eq!(users_file(home), Some("/home/u/.config/quorate/client.toml".into()));
        let moved = |name: &str| Some(PathBuf::from(if name == "HOME" { "/home/u" } else { "/etc/u" }));
        assert_eq!(users_file(moved), Some("/etc/u/quorate/client.toml".into()));
        assert_eq!(users_file(|_| None), None);
    }
}
