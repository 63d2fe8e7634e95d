//! Who may know whom: the table of the house, and its judge.
//!
//! What is not listed is forbidden. A row's `modules` are prefixes of paths from the crate's root: `raft::Entry` admits
//! that one item, `codec` everything below it. A row's `crates` are the external crates; `std` is judged apart, by what
//! must not be used of it. `Exception`s name a file and what it alone may use: the seams. Test code keeps the table of
//! modules, but may use any crate and any part of `std`.

use crate::Complaint;
use crate::paths::{self, Target};
use crate::source::{Kind, Source};

/// What one top-level module may use.
struct Row {
    module: &'static str,
    modules: &'static [&'static str],
    crates: &'static [&'static str],
    never: &'static [&'static str],
}

/// Plain data: free for all but `raft`, which knows `types` alone.
const PLAIN: &[&str] = &["types", "error", "config", "telemetry"];

/// Parts of `std` for modules that do no I/O and know no time.
const PURE: &[&str] =
    &["std::fs", "std::net", "std::thread", "std::process", "std::env", "std::io", "std::time"];
/// For modules that do I/O through seams only.
const SEAMED: &[&str] = &["std::fs", "std::net", "std::thread", "std::process", "std::env", "std::time"];

const TABLE: &[Row] = &[
    Row { module: "types", modules: &[], crates: &["serde"], never: PURE },
    Row { module: "error", modules: &[], crates: &["thiserror"], never: PURE },
    Row { module: "config", modules: &[], crates: &["serde", "thiserror"], never: SEAMED },
    Row {
        module: "telemetry",
        modules: &[],
        crates: &["clap", "procfs", "serde", "tracing", "tracing_subscriber"],
        never: &["std::fs", "std::net", "std::thread", "std::time"],
    },
    Row {
        module: "clock",
        modules: &[],
        crates: &["fastrand", "getrandom", "tokio"],
        never: &["std::fs", "std::net"],
    },
    Row { module: "command", modules: &["codec"], crates: &["bytes", "crc32fast"], never: PURE },
    Row {
        module: "codec",
        modules: &["command"],
        crates: &["bincode", "bytes", "crc32fast", "thiserror"],
        never: PURE,
    },
    Row {
        module: "raft",
        modules: &[],
        crates: &["bytes", "crc32fast", "fastrand"],
        never: &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::process",
            "std::env",
            "std::io",
            "std::time",
            "std::sync",
            "std::collections::HashMap",
            "std::collections::HashSet",
            "std::collections::hash_map",
            "std::future",
            "std::task",
            "std::hash::RandomState",
            "std::hash::DefaultHasher",
        ],
    },
    Row {
        module: "wal",
        modules: &[
            "raft::Damaged",
            "raft::Entry",
            "raft::EntryKind",
            "raft::HardState",
            "raft::Membership",
            "raft::MemberRecord",
            "raft::DecodeError",
            "raft::entry",
            "raft::membership",
        ],
        // serde only writes what `wal inspect` shows.
        crates: &["bytes", "crc32fast", "serde", "thiserror", "tracing"],
        never: SEAMED,
    },
    // Generated.
    Row { module: "proto", modules: &[], crates: &["prost", "tonic", "tonic_prost"], never: PURE },
    Row {
        module: "transport",
        modules: &[
            "clock",
            "raft::Append",
            "raft::AppendReply",
            "raft::AppendResult",
            "raft::Entry",
            "raft::EntryKind",
            "raft::Envelope",
            "raft::Message",
            "raft::Lack",
            "raft::ReadRequest",
            "raft::Room",
            "raft::Round",
            "raft::SessionId",
            "raft::Snapshot",
            "raft::message",
            "raft::entry",
            "proto",
        ],
        crates: &[
            "bytes",
            "crc32fast",
            "fastrand",
            "futures_util",
            "http",
            "http_body_util",
            "hyper",
            "hyper_util",
            "prost",
            "socket2",
            "thiserror",
            "tokio",
            "tokio_stream",
            "tonic",
            "tonic_prost",
            "tower",
            "tracing",
        ],
        never: SEAMED,
    },
    Row {
        module: "fsm",
        modules: &["command", "codec"],
        crates: &["bytes", "crc32fast", "lz4_flex", "redb", "thiserror", "tracing", "xxhash_rust"],
        never: SEAMED,
    },
    Row {
        module: "node",
        modules: &["clock", "command", "codec", "raft", "wal", "transport", "fsm"],
        crates: &[
            "bytes",
            "crc32fast",
            "fastrand",
            "futures_util",
            "rustix", // the executor seam: a thread's niceness
            "thiserror",
            "tokio",
            "tracing",
            "xxhash_rust",
        ],
        never: SEAMED,
    },
    Row {
        module: "shard",
        modules: &[
            "clock",
            "command",
            "node::Handle",
            "node::Consistency",
            "node::Freshness",
            "node::Member",
            "node::MemberChange",
            "node::Members",
            "node::MemberStatus",
            "node::Standing",
            "node::Status",
        ],
        crates: &["bytes", "tracing"],
        never: PURE,
    },
    Row {
        module: "api",
        modules: &["clock", "command", "codec", "shard", "proto"],
        crates: &[
            "axum",
            "base64",
            "bytes",
            "futures_util",
            "http",
            "http_body_util",
            "hyper",
            "percent_encoding",
            "prometheus_client",
            "prost",
            "serde",
            "serde_json",
            "tokio",
            "tokio_stream",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tonic_types",
            "tower",
            "tracing",
            "utoipa",
        ],
        never: &["std::fs", "std::thread", "std::process", "std::env", "std::time"],
    },
    Row { module: "proto", modules: &[], crates: &["prost", "tonic", "tonic_prost"], never: PURE },
    // It is built without the server, and stands outside the nodes.
    Row {
        module: "client",
        modules: &["proto"],
        crates: &[
            "bytes",
            "fastrand",
            "futures_util",
            "prost",
            "thiserror",
            "tokio",
            "tonic",
            "tonic_types",
            "tracing",
        ],
        never: SEAMED,
    },
    // Only for tests: it runs the checks that stand beside the parsers.
    Row {
        module: "fuzzing",
        modules: &[
            "api::etcd::fuzzing",
            "api::grpc::fuzzing",
            "api::rest::fuzzing",
            "cli::fuzzing",
            "codec::fuzzing",
            "fsm::fuzzing",
            "node::fuzzing",
            "transport::fuzzing",
            "wal::fuzzing",
        ],
        crates: &["fastrand"],
        never: PURE,
    },
    Row {
        module: "server",
        modules: &[
            "api",
            "clock",
            "codec",
            "command",
            "fsm",
            "node",
            "proto",
            "raft",
            "shard",
            "transport",
            "wal",
        ],
        crates: &[
            "axum",
            "bytes",
            "fastrand",
            "futures_util",
            "http",
            "http_body_util",
            "hyper",
            "hyper_util",
            "redb",
            "socket2",
            "thiserror",
            "tokio",
            "tokio_stream",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tower",
            "tracing",
        ],
        never: SEAMED,
    },
    Row {
        module: "cli",
        // Of the storage modules only their public readers.
        modules: &["clock", "client", "server", "wal::inspect"],
        crates: &[
            "anstream",
            "anstyle",
            "base64",
            "clap",
            "clap_complete",
            "comfy_table",
            "indicatif",
            "nix",
            "serde",
            "serde_json",
            "tokio",
            "toml",
            "tracing",
            "unicode_width",
            "ureq",
        ],
        never: &[],
    },
];

/// What one file (or directory) may use beyond its row: the seams and the edge.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    ("src/wal/fs.rs", &["std::fs", "nix"]),
    ("src/fsm/backend", &["std::fs"]),
    ("src/fsm/file.rs", &["std::fs"]),
    ("src/transport/net.rs", &["std::net"]),
    ("src/node/executor.rs", &["std::thread"]),
    ("src/clock.rs", &["std::time", "std::thread", "nix"]),
    // The client's time and entropy are those of its runtime, and its thread is its own: it is no part of a node.
    ("src/client/edge.rs", &["tokio::time", "getrandom"]),
    ("src/client/blocking.rs", &["std::thread"]),
    // How tests and simulations connect.
    ("src/client/testing.rs", &["hyper_util", "tower"]),
    // `bench` is a client of every door, and speaks each as its clients do.
    (
        "src/cli/bench",
        &[
            "proto",
            "bytes",
            "fastrand",
            "h2",
            "hdrhistogram",
            "http",
            "http_body_util",
            "hyper",
            "hyper_util",
            "procfs",
            "tonic",
            "tonic_types",
        ],
    ),
    // `wal inspect` reads a log through its public reader, from the machine's own disk.
    ("src/cli/wal_inspect.rs", &["wal::Error", "wal::fs::StdFs"]),
];

/// What the test code of a module may use beyond its row.
const TEST_MODULES: &[(&str, &str)] = &[
    // The peers' service is tested behind the real listener.
    ("transport", "server::serve"),
    // What a snapshot, or a message, costs is counted by the same allocator as what a parser costs.
    ("fsm", "fuzzing::meter"),
    ("api", "fuzzing"),
];

/// What is harmless of a forbidden part: values, not actions.
const HARMLESS: &[&str] = &[
    "std::time::Duration",
    "std::net::SocketAddr",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::ToSocketAddrs",
    "std::io::ErrorKind",
];

/// Time and entropy come from `clock`, wherever they are wanted. The command line is outside the simulated node.
const ENTROPY: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "tokio::time",
    "tokio::task::spawn_blocking",
    "tokio::task::block_in_place",
    "getrandom",
    "rand",
    "std::collections::hash_map::RandomState",
    "std::hash::RandomState",
];

/// The front doors of `api`: none knows another.
const DOORS: &[&str] = &["rest", "grpc", "etcd", "resp", "console"];

/// Judges every path of a source.
pub fn check(source: &Source, complaints: &mut Vec<Complaint>) {
    if source.kind != Kind::Product {
        return;
    }
    let row = TABLE.iter().find(|row| Some(row.module) == source.module.first().map(String::as_str));
    if row.is_none() && !source.module.is_empty() {
        let text =
            format!("module `{}` is not in the table: add a row to tests/tidy/table.rs", source.module[0]);
        return complaints.push(source.complaint(0, "module", text));
    }
    for path in paths::written(source) {
        let line = path.at.line;
        match paths::resolve(source, &path) {
            Target::Local => {}
            Target::Inside(target) => {
                complaints.extend(
                    judge_inside(source, row, &target, source.is_test_at(path.at))
                        .map(|text| source.complaint(line, "module", text)),
                );
            }
            Target::External(target) => {
                if source.is_test_at(path.at) {
                    continue;
                }
                for (rule, text) in judge_external(source, row, &target) {
                    complaints.push(source.complaint(line, rule, text));
                }
            }
        }
    }
}

fn judge_inside(source: &Source, row: Option<&Row>, target: &[String], is_test: bool) -> Option<String> {
    let row = row?;
    let written = format!("crate::{}", target.join("::"));
    let Some(first) = target.first().map(String::as_str).filter(|first| *first != "*") else {
        return Some(format!("`{written}` names the whole crate: name the module that is meant"));
    };
    if first == row.module {
        return judge_doors(source, target);
    }
    if TABLE.iter().all(|row| row.module != first) && !["client", "proto"].contains(&first) {
        return Some(format!("`{written}`: no such module in the table: add a row to tests/tidy/table.rs"));
    }
    let plain = if row.module == "raft" { &["types"][..] } else { PLAIN };
    let in_tests =
        TEST_MODULES.iter().filter(|(module, _)| is_test && *module == row.module).map(|(_, path)| path);
    let allowed = plain.iter().chain(row.modules).chain(in_tests).any(|allowed| is_below(target, allowed));
    (!allowed && !is_excepted(source, target)).then(|| {
        format!(
            "`{}` may not use `{written}`: it may use {}; move the code, or pass the value in",
            row.module,
            [plain, row.modules].concat().join(", ")
        )
    })
}

fn judge_doors(source: &Source, target: &[String]) -> Option<String> {
    if target.first().is_none_or(|first| first != "api") {
        return None;
    }
    let own = source.module.get(1).map(String::as_str).filter(|door| DOORS.contains(door))?;
    let other = target.get(1).map(String::as_str).filter(|door| DOORS.contains(door))?;
    (own != other).then(|| {
        format!("front door `{own}` may not use front door `{other}`: what both need belongs to `api` itself")
    })
}

fn judge_external(source: &Source, row: Option<&Row>, target: &[String]) -> Vec<(&'static str, String)> {
    let written = target.join("::");
    // `core` and `alloc` are other doors to the same house.
    let mut target = target.to_vec();
    if ["core", "alloc"].contains(&target[0].as_str()) {
        "std".clone_into(&mut target[0]);
    }
    let target = target.as_slice();
    let name = target[0].as_str();
    let mut found = Vec::new();
    if is_excepted(source, target) {
        return found;
    }
    let is_edge = matches!(source.module.first().map(String::as_str), Some("cli" | "clock"));
    if !is_edge && (ENTROPY.iter().any(|banned| is_below(target, banned)) || is_global_rng(target)) {
        let text = format!(
            "`{written}`: time, entropy and blocking threads come through the seams: `clock`, `node::executor`"
        );
        found.push(("entropy", text));
    }
    if name == "bincode" && source.module.first().is_none_or(|module| module != "codec") {
        found.push((
            "crate",
            format!("`{written}`: `codec` is the only user of bincode: add the encoding there"),
        ));
    }
    let Some(row) = row else { return found };
    let is_std = name == "std";
    if !is_std && !row.crates.contains(&name) && found.is_empty() {
        let text = format!(
            "`{}` may not use the crate `{name}` (`{written}`): it may use {:?}",
            row.module, row.crates
        );
        found.push(("crate", text));
    }
    let harmless = HARMLESS.iter().any(|harmless| is_below(target, harmless));
    let banned = row.never.iter().find(|banned| is_below(target, banned) || is_glob_over(target, banned));
    if let (Some(banned), false, true) = (banned, harmless, found.is_empty()) {
        let text = format!(
            "`{}` may not use `{banned}` (`{written}`): take the value or the seam as an argument",
            row.module
        );
        found.push(("std", text));
    }
    found
}

/// Whether this file alone may use `target`.
fn is_excepted(source: &Source, target: &[String]) -> bool {
    let own = EXCEPTIONS.iter().filter(|(file, _)| source.path.starts_with(file));
    own.flat_map(|(_, allowed)| *allowed).any(|allowed| is_below(target, allowed))
}

/// `fastrand`'s own generator is seeded by the machine; only one with a seed that was passed in repeats.
fn is_global_rng(target: &[String]) -> bool {
    target[0] == "fastrand"
        && match target.get(1).map(String::as_str) {
            Some("Rng") => target.get(2).is_some_and(|call| call == "new"),
            Some(_) => true,
            None => false,
        }
}

/// Whether `target` is `prefix` or below it.
fn is_below(target: &[String], prefix: &str) -> bool {
    let mut segments = target.iter();
    prefix.split("::").all(|wanted| segments.next().is_some_and(|segment| segment == wanted))
}

/// Whether `target` is a glob that takes `banned` in.
fn is_glob_over(target: &[String], banned: &str) -> bool {
    match target.split_last() {
        Some((last, prefix)) if last == "*" => {
            let banned: Vec<&str> = banned.split("::").collect();
            banned.len() > prefix.len() && prefix.iter().zip(&banned).all(|(one, other)| one == other)
        }
        _ => false,
    }
}
