//! The index of the module doc names functions and tests that exist.

use std::path::Path;

#[test]
fn the_index_names_what_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raft");
    let book = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut rules = 0;
    for line in book.lines().filter(|line| line.starts_with("//! | ") && !line.contains("| rule |")) {
        let cells: Vec<&str> = line["//! ".len()..].trim_matches('|').split('|').map(str::trim).collect();
        let [_, function, test] = cells[..] else { panic!("not three cells: {line}") };
        for (name, place) in [(function, folder.clone()), (test, folder.join("tests"))] {
            let (file, function) = name.split_once("::").expect("file::function");
            let source = std::fs::read_to_string(place.join(file).with_extension("rs")).unwrap();
            assert!(source.contains(&format!("fn {function}(")), "{name} does not exist: {line}");
        }
        rules += 1;
    }
    assert!(rules >= 20, "only {rules} rules");
}
