//! Compiles `proto/` to Rust stubs and a descriptor set, without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 6] = [
    "monitorable/v1/monitorable.proto",
    "bridge/v1/bridge.proto",
    "monitor/v1/audit.proto",
    "monitor/v1/evidence.proto",
    "monitor/v1/monitor.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
