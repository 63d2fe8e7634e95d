//! Keys and values as they are given: arguments, standard input, files. All are bytes: a value arrives as it is, with its last
//! newline, and a key need not be text.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::super::Failure;
use super::escape::unescape;

/// More than any server takes for a value, so that a device or an endless pipe is not read into memory whole.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// How arguments are read.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Escapes {
    /// Keys and values among the arguments have escapes: \xNN \n \r \t \0 \\ (as tables and plain lists show them)
    #[arg(short, long)]
    escapes: bool,
}

impl Escapes {
    /// The bytes of an argument.
    pub(super) fn bytes(self, argument: &OsString) -> Result<Vec<u8>, Failure> {
        if !self.escapes {
            return Ok(argument.as_bytes().to_owned());
        }
        unescape(argument.as_bytes())
            .map_err(|error| Failure::usage(format!("{:?}: {error}", argument.to_string_lossy())))
    }

    /// The bytes of a key, which is not empty.
    pub(super) fn key(self, argument: &OsString) -> Result<Vec<u8>, Failure> {
        let key = self.bytes(argument)?;
        if key.is_empty() {
            return Err(Failure::usage("the key is empty: give one of at least one byte"));
        }
        Ok(key)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Value {
    /// The value; - reads it from standard input, whole and as it is
    #[arg(value_name = "VALUE", required_unless_present = "file", allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
}

impl Value {
    /// Its bytes.
    pub(super) fn read(&self, escapes: Escapes) -> Result<Vec<u8>, Failure> {
        match (&self.value, &self.file) {
            (Some(value), _) if value == "-" => stdin(),
            (Some(value), _) => escapes.bytes(value),
            (None, Some(path)) => file(path),
            (None, None) => {
                Err(Failure::usage("the value is missing: give it, - for standard input, or --file"))
            }
        }
    }
}

/// All of standard input.
pub(super) fn stdin() -> Result<Vec<u8>, Failure> {
    whole(std::io::stdin().lock()).map_err(|error| Failure::usage(format!("standard input: {error}")))
}

/// All of a file.
pub(super) fn file(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let read = std::fs::File::open(path).and_then(whole);
    read.map_err(|error| Failure::usage(format!("--file {}: {error}", path.display())))
}

fn whole(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 64 MiB, and no value is"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn arguments_are_bytes() {
        let raw = OsString::from_vec(vec![b'k', 0xff]);
        assert_eq!(Escapes { escapes: false }.bytes(&raw), Ok(vec![b'k', 0xff]));
        let written = OsString::from("k\\xff\\n");
        assert_eq!(Escapes { escapes: true }.bytes(&written), Ok(vec![b'k', 0xff, b'\n']));
        assert_eq!(Escapes { escapes: false }.bytes(&written), Ok(b"k\\xff\\n".to_vec()));
        assert!(Escapes { escapes: true }.key(&OsString::new()).is_err());
        let error = Escapes { escapes: true }.bytes(&OsString::from("\\q")).expect_err("no escape");
        assert!(error.text.contains("\\q is no escape"), "{error:?}");
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("value");
        std::fs::write(&path, b"a\0b\n").expect("writable");
        let value = Value { value: None, file: Some(path) };
        assert_eq!(value.read(Escapes::default()), Ok(b"a\0b\n".to_vec()));
        let missing = Value { value: None, file: Some("/nowhere".into()) };
        assert!(missing.read(Escapes::default()).expect_err("none").text.starts_with("--file /nowhere: "));
    }

    #[test]
    fn an_endless_input_is_refused() {
        assert!(whole(std::io::repeat(0)).is_err());
    }
}
