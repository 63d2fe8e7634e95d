//! Compiles the .proto files in Rust: the machine needs no protoc.
//!
//! Of each package the messages become Rust code and its descriptors a file `<name>.descriptors.bin` in `OUT_DIR`,
//! which gRPC reflection serves for the packages that clients may see.

#[cfg(feature = "server")]
use std::error::Error;
#[cfg(feature = "server")]
use std::path::Path;

#[cfg(feature = "server")]
use prost::Message;

/// The core alone knows no wire format.
#[cfg(not(feature = "server"))]
fn main() {}

/// The packages: the name of the descriptor file, and the sources.
#[cfg(feature = "server")]
const PACKAGES: &[(&str, &[&str])] = &[("raft", &["raft.proto"])];

/// What has no generated code: the peer service and its frames, see src/transport/{grpc,frame}.rs.
#[cfg(feature = "server")]
const BY_HAND: &[&str] = &["raft", "Frame", "ReplyFrame"];

#[cfg(feature = "server")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out_dir = std::env::var("OUT_DIR")?;
    for (name, files) in PACKAGES {
        let mut descriptors = protox::compile(*files, ["proto"])?;
        let path = Path::new(&out_dir).join(format!("{name}.descriptors.bin"));
        std::fs::write(path, descriptors.encode_to_vec())?;
        for file in &mut descriptors.file {
            file.message_type.retain(|message| !BY_HAND.contains(&message.name()));
        }
        let generate = !BY_HAND.contains(name);
        tonic_prost_build::configure()
            .build_client(generate)
            .build_server(generate)
            .bytes(".")
            .compile_fds(descriptors)?;
    }
    Ok(())
}
