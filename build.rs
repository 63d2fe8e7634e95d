//! Compiles the .proto files in Rust: the machine needs no protoc.
//!
//! Of each package the messages become Rust code and its descriptors a file `<name>.descriptors.bin` in `OUT_DIR`,
//! which gRPC reflection serves for the packages that clients may see.

#[cfg(feature = "client")]
use std::error::Error;
#[cfg(feature = "client")]
use std::path::Path;

#[cfg(feature = "client")]
use prost::Message;

/// The core alone knows no wire format.
#[cfg(not(feature = "client"))]
fn main() {}

/// A package.
#[cfg(feature = "client")]
struct Package {
    /// The name of the descriptor file.
    name: &'static str,
    /// Its sources.
    files: &'static [&'static str],
    /// Whether clients see it; what only nodes need is not built for a program that is a client.
    is_public: bool,
}

#[cfg(feature = "client")]
const PACKAGES: &[Package] = &[
    Package { name: "raft", files: &["raft.proto"], is_public: false },
    Package {
        name: "quorate.v1",
        files: &["quorate/v1/kv.proto", "quorate/v1/admin.proto"],
        is_public: true,
    },
    Package { name: "etcd", files: &["etcd/kv.proto", "etcd/rpc.proto"], is_public: true },
];

/// What has no generated code: the peer service and its frames, see src/transport/{grpc,frame}.rs.
#[cfg(feature = "client")]
const BY_HAND: &[&str] = &["Frame", "ReplyFrame"];

#[cfg(feature = "client")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out_dir = std::env::var("OUT_DIR")?;
    for Package { name, files, is_public } in PACKAGES {
        if !is_public && !cfg!(feature = "server") {
            continue;
        }
        let mut descriptors = protox::compile(*files, ["proto"])?;
        let path = Path::new(&out_dir).join(format!("{name}.descriptors.bin"));
        std::fs::write(path, descriptors.encode_to_vec())?;
        for file in &mut descriptors.file {
            file.message_type.retain(|message| !BY_HAND.contains(&message.name()));
        }
        tonic_prost_build::configure()
            .build_client(*is_public)
            .build_server(*is_public && cfg!(feature = "server"))
            .bytes(".")
            .compile_fds(descriptors)?;
    }
    Ok(())
}
