//! Makes the gRPC types, client and server of `api/orders/v1/orders.proto`, without `protoc`.

use std::{env, error::Error, fs, path::Path};

const ROOT: &str = "../../api";
const FILE: &str = "orders/v1/orders.proto";

/// Messages that hold personal data or a payment instrument: `grpc::pb` says how they are debugged.
const SILENT: [&str; 6] = [
    ".orders.v1.AddNoteRequest",
    ".orders.v1.Address",
    ".orders.v1.Note",
    ".orders.v1.PayOrderRequest",
    ".orders.v1.PayWith",
    ".orders.v1.Personal",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}/{FILE}");
    let files = protox::compile([FILE], [ROOT])?;
    let mut paths = Vec::new();
    for file in &files.file {
        for service in &file.service {
            let of = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            paths.extend(service.method.iter().map(|method| of(method.name())));
        }
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("paths.rs"), format!("&{paths:?}"))?;
    // The client is for tests, and for whoever calls the service from Rust.
    tonic_prost_build::configure().btree_map(".").skip_debug(SILENT).compile_fds(files)?;
    Ok(())
}
