//! Makes the gRPC types, client and server of `api/orders/v1/orders.proto`, and of the standards of health
//! and reflection, without `protoc`; and what `grpc` knows of them besides: the paths of the contract,
//! the fields of its messages, and the descriptors of all.

use std::{env, error::Error, fs, path::Path};
use tonic_prost_build::Builder;

use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const ROOT: &str = "../../api";
/// The contract first; those of the standards are as they are published, and so is what the contract
/// imports of them.
const FILES: [&str; 3] = [
    "orders/v1/orders.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
];
/// The package of the contract.
const PACKAGE: &str = "orders.v1";

/// Messages that hold personal data or a payment instrument: `grpc::pb` says how they are debugged.
const SILENT: [&str; 6] = [
    ".orders.v1.AddNoteRequest",
    ".orders.v1.Address",
    ".orders.v1.Note",
    ".orders.v1.PayOrderRequest",
    ".orders.v1.PayWith",
    ".orders.v1.Personal",
];

/// Of two messages one is much the larger.
const BOXED: [&str; 3] = [
    ".orders.v1.CreateOrderResponse.outcome.order",
    ".orders.v1.CreateOrderResponse.outcome.priced_order",
    ".orders.v1.BatchCreateOrdersResponse.outcome.order",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={ROOT}/{file}");
    }
    let mut files = protox::compile(FILES, [ROOT])?;
    for file in files.file.iter_mut().filter(|file| file.package() != PACKAGE) {
        // What others wrote is not told as ours is.
        file.source_code_info = None;
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let write = |name: &str, made: &[u8]| fs::write(Path::new(&out).join(name), made);
    let messages = messages(&files);
    write("shapes.rs", shapes(&messages)?.as_bytes())?;
    write("calls.rs", calls(&files, &messages)?.as_bytes())?;
    // The client is for tests, and for whoever calls the service from Rust.
    let configured = tonic_prost_build::configure().btree_map(".").skip_debug(SILENT);
    // Nor are names that others chose ours to mend.
    let configured = configured.type_attribute(".grpc", "#[allow(clippy::all)]");
    let configured = configured.extern_path(".google.rpc.Status", "::tonic_types::Status");
    BOXED.iter().fold(configured, Builder::boxed).compile_fds(files.clone())?;
    for file in &mut files.file {
        file.source_code_info = None;
    }
    write("descriptors.bin", &files.encode_to_vec())?;
    Ok(())
}

/// Every message by its full name, those within others too.
fn messages(files: &FileDescriptorSet) -> Vec<(String, DescriptorProto)> {
    let mut open: Vec<(String, DescriptorProto)> = Vec::new();
    for file in files.file.iter().rev() {
        let scope = format!(".{}", file.package());
        let of = |message: &DescriptorProto| (scope.clone(), message.clone());
        open.extend(file.message_type.iter().rev().map(of));
    }
    let mut all = Vec::new();
    while let Some((scope, message)) = open.pop() {
        let name = format!("{scope}.{}", message.name());
        let of = |nested: &DescriptorProto| (name.clone(), nested.clone());
        open.extend(message.nested_type.iter().rev().map(of));
        all.push((name, message));
    }
    all
}

/// Where a message of this name is among all of them.
fn place(messages: &[(String, DescriptorProto)], name: &str) -> Result<usize, String> {
    let found = messages.iter().position(|(known, _)| known == name);
    found.ok_or_else(|| format!("there is no message {name}"))
}

/// The fields of every message as Rust: number, name, whether it is repeated, and which message it
/// holds, if it holds one.
fn shapes(messages: &[(String, DescriptorProto)]) -> Result<String, String> {
    let mut all = Vec::new();
    for (_, message) in messages {
        let mut fields = Vec::new();
        for field in &message.field {
            let held = (field.r#type() == Type::Message).then(|| field.type_name());
            let held = held.map(|name| place(messages, name)).transpose()?;
            let repeated = field.label() == Label::Repeated;
            fields.push((field.number(), field.name(), repeated, held));
        }
        all.push(format!("&{fields:?}"));
    }
    Ok(format!("&[{}]", all.join(", ")))
}

/// Every call of the contract as Rust: its path, and the message that it takes.
fn calls(
    files: &FileDescriptorSet,
    messages: &[(String, DescriptorProto)],
) -> Result<String, String> {
    let mut all = Vec::new();
    for file in files.file.iter().filter(|file| file.package() == PACKAGE) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                all.push((path, place(messages, method.input_type())?));
            }
        }
    }
    Ok(format!("&{all:?}"))
}
