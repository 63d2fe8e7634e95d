//! Every path in a source: `use` trees, inline paths, attributes and macro bodies alike, because all are read as
//! tokens. Each is resolved as far as a module name goes: within the crate, or to an external one.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};

use crate::source::Source;

/// A path as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its segments. A glob import ends in `*`.
    pub segments: Vec<String>,
    /// It began with `::`.
    pub is_global: bool,
    /// It stands in a `use` or an `extern crate`.
    pub is_use: bool,
    /// Where.
    pub at: LineColumn,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path within this crate, from its root.
    Inside(Vec<String>),
    /// An external crate and what follows.
    External(Vec<String>),
    /// A name that some `use` or declaration of the same file explains.
    Local,
}

/// Finds the paths in a source.
pub fn written(source: &Source) -> Vec<Written> {
    scan_all(&source.tokens)
}

/// Finds the paths among tokens.
pub fn scan_all(tokens: &TokenStream) -> Vec<Written> {
    let mut found = Vec::new();
    scan(tokens, &mut found);
    found
}

/// The names that imports from this crate bring in: in this file they hide external crates.
pub fn imports(tokens: &TokenStream) -> BTreeSet<String> {
    let inside =
        |path: &Written| path.is_use && ["crate", "self", "super"].contains(&path.segments[0].as_str());
    scan_all(tokens).into_iter().filter(inside).filter_map(|path| path.segments.last().cloned()).collect()
}

/// Resolves a path that stands in `source`.
pub fn resolve(source: &Source, path: &Written) -> Target {
    let module = source.module_at(path.at);
    let Some(first) = path.segments.first() else { return Target::Local };
    let rest = || path.segments[1..].to_vec();
    match first.as_str() {
        "crate" | "quorate" if !path.is_global || first == "quorate" => Target::Inside(rest()),
        "self" => Target::Inside([module, &path.segments[1..]].concat()),
        "super" => {
            let up = path.segments.iter().take_while(|segment| *segment == "super").count();
            let kept = module.len().saturating_sub(up);
            Target::Inside([&module[..kept], &path.segments[up..]].concat())
        }
        name if source.crates.contains(name)
            && (path.is_global || path.is_use || path.segments.len() > 1) =>
        {
            if !path.is_global
                && (declares_module(source, name) || (!path.is_use && source.imports.contains(name)))
            {
                return Target::Local;
            }
            Target::External(path.segments.clone())
        }
        _ => Target::Local,
    }
}

/// Whether the file itself declares a module of this name, which then hides the crate.
fn declares_module(source: &Source, name: &str) -> bool {
    source.file.items.iter().any(|item| matches!(item, syn::Item::Mod(item) if item.ident == name))
}

fn scan(stream: &TokenStream, found: &mut Vec<Written>) {
    let tokens: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan(&group.stream(), found),
            TokenTree::Ident(ident) if ident == "use" => {
                at = use_tree(&tokens, at + 1, &[], false, found);
                continue;
            }
            TokenTree::Ident(ident)
                if ident == "crate" && is_ident(tokens.get(at.wrapping_sub(1)), "extern") =>
            {
                if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                    let segments = vec![name.to_string()];
                    found.push(Written { segments, is_global: true, is_use: true, at: name.span().start() });
                }
                at += 1;
            }
            TokenTree::Ident(_) => {
                at = inline(&tokens, at, false, found);
                continue;
            }
            TokenTree::Punct(_) if is_separator(&tokens, at) => {
                // `>::name` continues a qualified path; else this is a path from the global root.
                let continues =
                    at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(punct) if punct.as_char() == '>');
                at += 2;
                if matches!(tokens.get(at), Some(TokenTree::Ident(_))) {
                    let before = found.len();
                    at = inline(&tokens, at, true, found);
                    if continues {
                        found.truncate(before);
                    }
                    continue;
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Reads the path that begins at `at`; returns where reading goes on.
fn inline(tokens: &[TokenTree], at: usize, is_global: bool, found: &mut Vec<Written>) -> usize {
    let start = tokens[at].span().start();
    let mut segments = Vec::new();
    let mut next = at;
    while let Some(TokenTree::Ident(ident)) = tokens.get(next) {
        segments.push(ident.to_string());
        next += 1;
        if !is_separator(tokens, next) {
            break;
        }
        match tokens.get(next + 2) {
            Some(TokenTree::Ident(_)) => next += 2,
            // A group after a path only stands in imports that a macro makes.
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                return use_tree(tokens, next, &segments, is_global, found);
            }
            _ => break,
        }
    }
    if segments.len() > 1 {
        found.push(Written { segments, is_global, is_use: false, at: start });
    }
    next
}

/// Reads one import tree that begins at `at` behind `prefix`; returns where reading goes on: at a `,`, `;` or the end.
fn use_tree(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    mut is_global: bool,
    found: &mut Vec<Written>,
) -> usize {
    let mut segments = prefix.to_vec();
    let start = tokens.get(at).map_or(LineColumn { line: 0, column: 0 }, |token| token.span().start());
    if is_separator(tokens, at) {
        is_global |= prefix.is_empty();
        at += 2;
    }
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) if ident == "as" => {
                // The new name explains nothing about where it comes from.
                at += 2;
                break;
            }
            // `self` in a group is the module before it.
            Some(TokenTree::Ident(ident)) if ident == "self" && !segments.is_empty() => at += 1,
            Some(TokenTree::Ident(ident)) => {
                segments.push(ident.to_string());
                at += 1;
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                segments.push("*".to_owned());
                at += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut next = 0;
                while next < inner.len() {
                    next = use_tree(&inner, next, &segments, is_global, found) + 1;
                }
                return at + 1;
            }
            _ if is_separator(tokens, at) => at += 2,
            _ => break,
        }
    }
    if !segments.is_empty() {
        found.push(Written { segments, is_global, is_use: true, at: start });
    }
    at
}

fn is_ident(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

/// Whether `::` stands at `at`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let joint = matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.spacing() == proc_macro2::Spacing::Joint);
    colon(at) && joint && colon(at + 1)
}
