//! Reading the sources: which files exist, where each stands in the module tree, and which parts are test code.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{LineColumn, Span, TokenStream};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Complaint;

/// One file.
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Where it stands: `raft::log` of crate `quorate` is `["raft", "log"]`.
    pub module: Vec<String>,
    /// What kind of code it is.
    pub kind: Kind,
    /// All of it is test code: declared under `cfg(test)`, or below `tests/`.
    pub is_test: bool,
    /// Parsed.
    pub file: syn::File,
    /// The same as plain tokens, which macro bodies are, too.
    pub tokens: TokenStream,
    /// The external crates that its package names, with underscores.
    pub crates: BTreeSet<String>,
    /// The names that it imports from its own crate.
    pub imports: BTreeSet<String>,
    test_spans: Vec<(LineColumn, LineColumn)>,
    inline_modules: Vec<(LineColumn, LineColumn, Vec<String>)>,
}

/// Where code belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `src/`: the product.
    Product,
    /// `sim/`: the simulation.
    Simulation,
    /// `tests/`, `benches/` and build scripts.
    Outside,
}

impl Source {
    /// Parses a file. A file that does not parse is a complaint of its own.
    pub fn parse(path: &str, text: String, module: Vec<String>, is_test: bool) -> Result<Source, Complaint> {
        let broken = |line: usize, error: &dyn std::fmt::Display| Complaint {
            file: path.to_owned(),
            line,
            rule: "parse",
            text: format!("not readable as Rust: {error}"),
        };
        let file = syn::parse_file(&text).map_err(|error| broken(error.span().start().line, &error))?;
        let tokens =
            text.parse::<TokenStream>().map_err(|error| broken(error.span().start().line, &error))?;
        let kind = match path {
            _ if path.starts_with("src/") => Kind::Product,
            _ if path.starts_with("sim/") => Kind::Simulation,
            _ => Kind::Outside,
        };
        let mut spans = Spans { module: module.clone(), tests: Vec::new(), modules: Vec::new() };
        spans.visit_file(&file);
        Ok(Source {
            path: path.to_owned(),
            text,
            module,
            kind,
            is_test,
            file,
            imports: crate::paths::imports(&tokens),
            tokens,
            crates: BTreeSet::new(),
            test_spans: spans.tests,
            inline_modules: spans.modules,
        })
    }

    /// Whether the code at a place is test code.
    pub fn is_test_at(&self, at: LineColumn) -> bool {
        self.is_test || self.test_spans.iter().any(|(start, end)| *start <= at && at <= *end)
    }

    /// Lines that are not test code.
    pub fn lines_without_tests(&self) -> usize {
        let inside =
            |line: usize| self.test_spans.iter().any(|(start, end)| (start.line..=end.line).contains(&line));
        (1..=self.text.lines().count()).filter(|line| !inside(*line)).count()
    }

    /// The module that a place belongs to.
    pub fn module_at(&self, at: LineColumn) -> &[String] {
        let inside = self.inline_modules.iter().filter(|(start, end, _)| *start <= at && at <= *end);
        inside.max_by_key(|(_, _, module)| module.len()).map_or(&self.module, |(_, _, module)| module)
    }

    /// A complaint about a place in this file.
    pub fn complaint(&self, line: usize, rule: &'static str, text: impl Into<String>) -> Complaint {
        Complaint { file: self.path.clone(), line, rule, text: text.into() }
    }
}

/// Collects the spans of test items and of inline modules.
struct Spans {
    module: Vec<String>,
    tests: Vec<(LineColumn, LineColumn)>,
    modules: Vec<(LineColumn, LineColumn, Vec<String>)>,
}

impl<'ast> Visit<'ast> for Spans {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test_only(attributes(item)) {
            self.tests.push(ends(item.span()));
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => item.attrs.as_slice(),
            syn::ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        if is_test_only(attributes) {
            self.tests.push(ends(item.span()));
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            let (start, end) = ends(item.span());
            self.modules.push((start, end, self.module.clone()));
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

fn ends(span: Span) -> (LineColumn, LineColumn) {
    (span.start(), span.end())
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item exists in tests only: `#[test]` with or without arguments, `#[cfg(test)]`, also inside `any` and `all`, and what the
/// `testing` feature opens to tests and simulation.
pub fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let name =
            attribute.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        match &attribute.meta {
            syn::Meta::Path(_) => name == "test",
            // `#[tokio::test(start_paused = true)]`.
            syn::Meta::List(_) if name == "test" => true,
            syn::Meta::List(list) if name == "cfg" => {
                let words = list.tokens.to_string();
                let words: Vec<&str> = words.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
                !words.contains(&"not") && (words.contains(&"test") || words.contains(&"testing"))
            }
            _ => false,
        }
    })
}

/// The names of the packages a manifest depends on, as crates are named in code.
pub fn dependencies(root: &Path) -> BTreeSet<String> {
    let mut crates: BTreeSet<String> = ["std", "core", "alloc"].map(str::to_owned).into();
    for manifest in ["Cargo.toml", "sim/Cargo.toml"] {
        let text = std::fs::read_to_string(root.join(manifest)).unwrap_or_default();
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
                let name = name.split('.').next().unwrap_or_default().trim();
                crates.insert(name.replace('-', "_"));
            }
        }
    }
    crates
}

/// Reads every source below `root`: the module trees of `src` and `sim`, and the files of `benches` and `tests`.
pub fn load(root: &Path, crates: &BTreeSet<String>, complaints: &mut Vec<Complaint>) -> Vec<Source> {
    let mut loader = Loader { root, sources: Vec::new(), complaints };
    loader.module("src/lib.rs", Vec::new(), false);
    loader.module("src/main.rs", Vec::new(), false);
    let others = ["sim/src/lib.rs", "sim/src/main.rs", "build.rs", "benches/main.rs"];
    let tests = ["tests/tidy.rs", "tests/cluster/main.rs", "tests/fuzz/targets/fuzz.rs"];
    for entry in others.into_iter().chain(tests) {
        if root.join(entry).exists() {
            loader.module(entry, Vec::new(), entry.starts_with("tests/"));
        }
    }
    let mut sources = loader.sources;
    let declared = declared_targets(root);
    let known: BTreeSet<String> = sources.iter().map(|source| source.path.clone()).collect();
    for directory in ["src", "sim/src", "benches", "tests"] {
        for path in rust_files(root, directory) {
            if !known.contains(&path) && !declared.contains(&path) {
                complaints.push(Complaint {
                    file: path,
                    line: 0,
                    rule: "orphan",
                    text: "no module declares this file: declare it or remove it".to_owned(),
                });
            }
        }
    }
    for source in &mut sources {
        source.crates.clone_from(crates);
    }
    sources
}

/// The files that the manifests declare as targets of their own.
fn declared_targets(root: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.trim().strip_prefix("path = "));
    paths.map(|path| path.trim().trim_matches('"').to_owned()).collect()
}

struct Loader<'a> {
    root: &'a Path,
    sources: Vec<Source>,
    complaints: &'a mut Vec<Complaint>,
}

impl Loader<'_> {
    /// Reads the file at `path`, which is module `module`, and then the modules that it declares.
    fn module(&mut self, path: &str, module: Vec<String>, is_test: bool) {
        let Ok(text) = std::fs::read_to_string(self.root.join(path)) else {
            self.complaints.push(Complaint {
                file: path.to_owned(),
                line: 0,
                rule: "parse",
                text: "a declared module has no file here".to_owned(),
            });
            return;
        };
        let source = match Source::parse(path, text, module.clone(), is_test) {
            Ok(source) => source,
            Err(complaint) => return self.complaints.push(complaint),
        };
        let children = declared(&source.file.items, &module, path, is_test);
        self.sources.push(source);
        for (candidates, module, is_test) in children {
            let found = candidates.iter().find(|candidate| self.root.join(candidate).exists());
            self.module(found.unwrap_or(&candidates[0]), module, is_test);
        }
    }
}

/// The out-of-line modules among `items`: candidates for their file, their place, whether they are test code.
fn declared(
    items: &[syn::Item],
    module: &[String],
    path: &str,
    is_test: bool,
) -> Vec<(Vec<String>, Vec<String>, bool)> {
    let (directory, stem) = path.rsplit_once('/').map_or(("", path), |(directory, name)| (directory, name));
    let stem = stem.trim_end_matches(".rs");
    let is_root = module.is_empty() || stem == "mod";
    let below = if is_root { directory.to_owned() } else { format!("{directory}/{stem}") };
    let mut found = Vec::new();
    for item in items {
        let syn::Item::Mod(item) = item else { continue };
        let name = item.ident.to_string();
        let is_test = is_test || is_test_only(&item.attrs);
        let place: Vec<String> = module.iter().cloned().chain([name.clone()]).collect();
        match &item.content {
            None => {
                let candidates = match explicit_path(&item.attrs) {
                    Some(explicit) => vec![join(directory, &explicit)],
                    None => {
                        vec![join(&below, &format!("{name}.rs")), join(&below, &format!("{name}/mod.rs"))]
                    }
                };
                found.push((candidates, place, is_test));
            }
            Some((_, items)) => {
                // Modules inside an inline one live in a directory of its name.
                let inner = join(&below, &format!("{name}/mod.rs"));
                found.extend(declared(items, &place, &inner, is_test));
            }
        }
    }
    found
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn explicit_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Every `.rs` file below a directory, relative to the root.
fn rust_files(root: &Path, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root.join(directory)) else { return found };
    for entry in entries.flatten() {
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(rust_files(root, &path));
        } else if path.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
