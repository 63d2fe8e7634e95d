//! Sizes, banned tokens, module docs, leftover files, and the reasons in the manifest.

use std::path::Path;
use std::process::Command;

use proc_macro2::{Delimiter, LineColumn, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Complaint;
use crate::source::{Kind, Source};

/// A file without its tests.
const FILE_LINES_MAX: usize = 800;
/// A function, without blank lines and comments.
const FUNCTION_LINES_MAX: usize = 70;
/// A test may tell a longer story.
const TEST_FUNCTION_LINES_MAX: usize = 120;
/// Anything that is kept under version control.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Words that promise work for later. Put together here, so that this file does not break its own rule.
const PROMISES: &[&str] =
    &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO"), concat!("HA", "CK")];

/// Judges one source.
pub fn check(source: &Source, complaints: &mut Vec<Complaint>) {
    check_text(source, complaints);
    check_doc(source, complaints);
    let lines = source.lines_without_tests();
    if !source.is_test && lines > FILE_LINES_MAX {
        let text = format!("{lines} lines without tests, {FILE_LINES_MAX} are allowed: split it by subject");
        complaints.push(source.complaint(0, "file-size", text));
    }
    let mut functions = Functions { source, complaints, pollers: Vec::new() };
    functions.visit_file(&source.file);
    let pollers = functions.pollers;
    let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
    find_sleep(&tokens, &mut |at| {
        let is_polling = pollers.iter().any(|span| span.start() <= at && at <= span.end());
        let is_judged = match source.kind {
            Kind::Outside => true,
            Kind::Product => source.is_test_at(at),
            // Its time is simulated: a sleep there is an instant of the schedule.
            Kind::Simulation => false,
        };
        if is_judged && !is_polling {
            let text = "a sleep is no synchronisation: wait for what is meant with the polling helper (`poll_until`)";
            complaints.push(source.complaint(at.line, "sleep", text));
        }
    });
    check_tokens(source, &tokens, complaints);
}

fn check_text(source: &Source, complaints: &mut Vec<Complaint>) {
    for (at, line) in source.text.lines().enumerate() {
        if let Some(odd) = line.chars().find(|c| !c.is_ascii()) {
            let text = format!("{odd:?} is not ASCII: write it as an escape, or in ASCII words");
            complaints.push(source.complaint(at + 1, "ascii", text));
        }
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| PROMISES.contains(word)) {
            let text = format!("`{word}`: do it now, or open an issue and say here what does not work");
            complaints.push(source.complaint(at + 1, "promise", text));
        }
    }
}

fn check_doc(source: &Source, complaints: &mut Vec<Complaint>) {
    let has_doc = source.file.attrs.iter().any(|attribute| {
        matches!(attribute.style, syn::AttrStyle::Inner(_)) && attribute.path().is_ident("doc")
    });
    let is_test_of_product = source.is_test && source.kind == Kind::Product;
    if !has_doc && !is_test_of_product {
        let text = "no module doc: begin with `//!` and say what it is, where it sits, what it does not do";
        complaints.push(source.complaint(1, "module-doc", text));
    }
}

/// Looks at every function: its length, and whether it is a polling helper, which may sleep.
struct Functions<'a> {
    source: &'a Source,
    complaints: &'a mut Vec<Complaint>,
    pollers: Vec<proc_macro2::Span>,
}

impl Functions<'_> {
    fn function(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let (first, last) = (whole.start().line, whole.end().line);
        let lines = self.source.text.lines().skip(first - 1).take(last + 1 - first).map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        let max = if self.source.is_test_at(name.span().start()) {
            TEST_FUNCTION_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        if lines > max {
            let text = format!(
                "`{name}` has {lines} lines, {max} are allowed: move a part into a function with a name"
            );
            self.complaints.push(self.source.complaint(first, "function-size", text));
        }
        if name.to_string().contains("poll_") {
            self.pollers.push(whole);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, joined(item.sig.span(), item.block.span()));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, joined(item.sig.span(), item.block.span()));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if item.default.is_some() {
            self.function(&item.sig.ident, item.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// From the signature to the end of the body: without the documentation above.
fn joined(signature: proc_macro2::Span, body: proc_macro2::Span) -> proc_macro2::Span {
    signature.join(body).unwrap_or(body)
}

/// Finds `thread::sleep(` and `time::sleep(`, also behind longer paths.
fn find_sleep(tokens: &[TokenTree], report: &mut dyn FnMut(LineColumn)) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => find_sleep(&group.stream().into_iter().collect::<Vec<_>>(), report),
            TokenTree::Ident(ident) if ident == "sleep" || ident == "sleep_ms" => {
                let is_call = matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                let owner = at.checked_sub(3).and_then(|owner| tokens.get(owner));
                let owned =
                    matches!(owner, Some(TokenTree::Ident(owner)) if owner == "thread" || owner == "time");
                if is_call && owned {
                    report(ident.span().start());
                }
            }
            _ => {}
        }
    }
}

/// Walks tokens, macro bodies included.
fn check_tokens(source: &Source, tokens: &[TokenTree], complaints: &mut Vec<Complaint>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                check_tokens(source, &group.stream().into_iter().collect::<Vec<_>>(), complaints);
            }
            TokenTree::Ident(ident) => {
                let place = ident.span().start();
                let found = banned(source, tokens, at, &ident.to_string(), place);
                complaints.extend(found.map(|(rule, text)| source.complaint(place.line, rule, text)));
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn banned(
    source: &Source,
    tokens: &[TokenTree],
    at: usize,
    word: &str,
    place: LineColumn,
) -> Option<(&'static str, String)> {
    let punct = |at: Option<usize>, wanted: char| matches!(at.and_then(|at| tokens.get(at)), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let group = |at: usize, delimiter: Delimiter| match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    };
    let is_product = source.kind == Kind::Product && !source.is_test_at(place);
    match word {
        "todo" | "unimplemented" | "dbg" if punct(Some(at + 1), '!') => {
            Some(("placeholder", format!("`{word}!` never lands: write it, or leave it out")))
        }
        // `#[ignore]` and `#[ignore = ".."]` arrive as the first word of the attribute's brackets.
        "ignore" if at == 0 && (tokens.len() == 1 || punct(Some(1), '=')) => {
            Some(("ignored-test", "an ignored test proves nothing: make it run, or remove it".to_owned()))
        }
        "allow" | "expect" if !punct(at.checked_sub(1), '.') => group(at + 1, Delimiter::Parenthesis)
            .filter(|lints| {
                lints
                    .to_string()
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|lint| lint == "dead_code")
            })
            .map(|_| ("dead-code", "dead code is removed, not allowed".to_owned())),
        "turmoil" if source.kind == Kind::Product => {
            Some(("turmoil", "the product does not know the simulation: pass a seam instead".to_owned()))
        }
        "unwrap"
            if is_product
                && punct(at.checked_sub(1), '.')
                && group(at + 1, Delimiter::Parenthesis).is_some_and(|arguments| arguments.is_empty()) =>
        {
            Some((
                "unwrap",
                "`unwrap` says nothing: return the error, or `expect` with the reason it cannot be"
                    .to_owned(),
            ))
        }
        "HashMap" | "HashSet"
            if is_product
                && source.module.first().is_some_and(|module| module == "raft" || module == "fsm") =>
        {
            Some((
                "hash-order",
                format!("`{word}` has an order of its own in each process: use the BTree one"),
            ))
        }
        "async" | "await"
            if is_product
                && source
                    .module
                    .first()
                    .is_some_and(|module| ["raft", "fsm", "wal"].contains(&module.as_str())) =>
        {
            Some((
                "async",
                format!(
                    "`{word}` does not belong into `{}`: the driver waits, it does not",
                    source.module[0]
                ),
            ))
        }
        _ => None,
    }
}

/// Files that nobody meant to keep.
pub fn check_files(root: &Path, complaints: &mut Vec<Complaint>) {
    for path in kept_files(root) {
        let size = std::fs::metadata(root.join(&path)).map_or(1, |metadata| metadata.len());
        complaints.extend(judge_file(&path, size));
    }
}

/// Judges a file by name and size.
pub fn judge_file(path: &str, bytes: u64) -> Option<Complaint> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let endings = [".orig", ".rej", ".bak", ".old", ".swp", ".tmp", ".log", ".profraw", "~", ".pid"];
    let names = [".DS_Store", "nohup.out", "core", "perf.data", "Thumbs.db", "strace.out"];
    let text = if endings.iter().any(|ending| name.ends_with(ending)) || names.contains(&name) {
        "a leftover: remove it".to_owned()
    } else if bytes == 0 {
        "an empty file: remove it, or say in it what it is for".to_owned()
    } else if bytes > FILE_BYTES_MAX {
        format!("{bytes} bytes, {FILE_BYTES_MAX} are allowed: generate it, or keep it elsewhere")
    } else {
        return None;
    };
    Some(Complaint { file: path.to_owned(), line: 0, rule: "leftover", text })
}

/// The files under version control and those about to be; every file where there is no git.
fn kept_files(root: &Path) -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success());
    let Some(listed) = listed else { return all_files(root, "") };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().filter(|path| root.join(path).is_file()).map(str::to_owned).collect()
}

fn all_files(root: &Path, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root.join(directory)) else { return found };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
        if entry.path().is_dir() {
            // Builds go beside a manifest; elsewhere `target` is a name like any other.
            let is_built = name == "target" && root.join(directory).join("Cargo.toml").is_file();
            if !is_built && name != ".git" {
                found.extend(all_files(root, &path));
            }
        } else {
            found.push(path);
        }
    }
    found
}

/// Every dependency says why it is there.
pub fn check_manifest(root: &Path, complaints: &mut Vec<Complaint>) {
    for manifest in ["Cargo.toml", "sim/Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let text = std::fs::read_to_string(root.join(manifest)).unwrap_or_default();
        complaints.extend(judge_manifest(manifest, &text));
    }
}

/// Judges a manifest's dependency lines.
pub fn judge_manifest(path: &str, text: &str) -> Vec<Complaint> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && line.contains('=') && !line.contains("path =") && !line.contains(" # ") {
            let text = "a dependency without a reason: say behind a `#` what it is for".to_owned();
            found.push(Complaint { file: path.to_owned(), line: at + 1, rule: "dependency-reason", text });
        }
    }
    found
}
