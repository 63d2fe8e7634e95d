//! What must hold of the language of transactions for any bytes in it.

use super::{Script, parse};

/// A text is refused in one line that names a place in it, or it becomes a transaction with something to do, of no more
/// parts than it has bytes. What has no meaning behind it changes nothing.
pub(crate) fn check(input: &[u8]) -> bool {
    let script = match parse(input) {
        Ok(script) => script,
        Err(mistake) => {
            let text = mistake.to_string();
            assert!(!text.chars().any(char::is_control), "not one line: {text:?}");
            let lines = 1 + input.iter().filter(|byte| **byte == b'\n').count();
            let is_there = (1..=lines).contains(&mistake.at.line) && mistake.at.column >= 1;
            assert!(is_there, "no place in {lines} lines: {text}");
            return false;
        }
    };
    let Script { compares, success, failure } = &script;
    assert!(!success.is_empty() || !failure.is_empty(), "nothing to do: {script:?}");
    let parts = compares.len() + success.len() + failure.len();
    assert!(parts <= input.len(), "{parts} parts out of {} bytes", input.len());
    let longer = [input, b"\n# the end\n"].concat();
    assert_eq!(parse(&longer), Ok(script), "a comment behind it changed it");
    true
}

/// All words of the language, each in its place.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let moved = "\
# Moves a value, if nobody has changed it meanwhile.
if
  value user:1 = \"a value of some length, with \\x00 and \\n in it\"
  version user:2 > 3 and absent lock
  revision user:1 != 17; created user:2 < 18
  lease prefix user: = 0 and exists 'user:1'
then
  put user:2 'a value that is meant as it stands: \\ and \"' previous
  del user:1 previous
  touch user:3
else
  get user:1
end
";
    let selected =
        "get prefix job/ by revision desc limit 10 keys; get range a b count; get \"prefix\" by value\n";
    let inner = "if exists a then if absent b then put c 1 else put d 2 end; get e else del range a b end\n";
    vec![("moved", moved.into()), ("selected", selected.into()), ("inner", inner.into())]
}
