//! Compiles the messages of the Open Inference Protocol, without protoc.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use protox::prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["inference.proto"], ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // What the reflection service tells of itself.
    fs::write(out.join("inference.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // Contents are slices of the message.
        .bytes(".")
        .btree_map(".")
        .build_transport(false)
        .compile_fds(files)?;
    Ok(())
}
