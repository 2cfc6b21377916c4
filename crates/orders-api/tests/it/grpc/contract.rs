//! The contract itself: what clients are built on, and what it says of codes.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use orders_api::{grpc::DESCRIPTORS, http::STREAMS, problem::Code};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// A name of the contract without its package.
fn plain(name: &str) -> &str {
    name.strip_prefix(".orders.v1.").unwrap_or(name.trim_start_matches('.'))
}

fn field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let kind = field.r#type();
    let kind = if matches!(kind, Type::Message | Type::Enum) {
        plain(field.type_name()).to_owned()
    } else {
        format!("{kind:?}").to_lowercase()
    };
    let mut line = format!("  {} {} {kind}", field.number(), field.name());
    if field.label() == Label::Repeated {
        line += ", repeated";
    }
    if field.proto3_optional() {
        line += ", optional";
    } else if let Some(at) = field.oneof_index {
        let oneof = &message.oneof_decl[usize::try_from(at).unwrap()];
        line.extend([", in ", oneof.name()]);
    }
    line
}

fn message(scope: &str, message: &DescriptorProto) -> Vec<String> {
    let name = format!("{scope}{}", message.name());
    let mut lines = vec![format!("message {name}")];
    lines.extend(message.field.iter().map(|of| field(message, of)));
    let scope = format!("{name}.");
    lines.extend(message.nested_type.iter().flat_map(|nested| self::message(&scope, nested)));
    lines
}

/// All that a client can depend on, a line each.
fn lines(file: &FileDescriptorProto) -> Vec<String> {
    let options = file.options.as_ref().expect("options");
    let mut lines = vec![
        format!("package {}", file.package()),
        format!("  go_package {}", options.go_package()),
        format!("  java_package {}", options.java_package()),
        format!("  java_multiple_files {}", options.java_multiple_files()),
    ];
    for service in &file.service {
        lines.push(format!("service {}", service.name()));
        lines.extend(service.method.iter().map(|call| {
            let (asked, answer) = (plain(call.input_type()), plain(call.output_type()));
            let stream = |is: bool| if is { "stream " } else { "" };
            let (asks, answers) =
                (stream(call.client_streaming()), stream(call.server_streaming()));
            format!("  {}({asks}{asked}) {answers}{answer}", call.name())
        }));
    }
    lines.extend(file.message_type.iter().flat_map(|of| message("", of)));
    for values in &file.enum_type {
        lines.push(format!("enum {}", values.name()));
        lines.extend(values.value.iter().map(|of| format!("  {} {}", of.number(), of.name())));
    }
    lines
}

/// A number that is given anew, or to another field, breaks clients that are built already.
#[test]
fn names_numbers_and_types_of_the_contract_stay() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let file = files.iter().find(|file| file.package() == "orders.v1").expect("the contract");
    assert_snapshot!("contract", lines(file).join("\n"));
}

#[test]
fn the_contract_imports_only_what_its_descriptors_have() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let names: BTreeSet<&str> = files.iter().map(FileDescriptorProto::name).collect();
    for import in files.iter().flat_map(|file| &file.dependency) {
        assert!(names.contains(import.as_str()), "{import}");
    }
}

/// What streams has no deadline of the service's own.
#[test]
fn the_calls_that_stream_are_routes_that_stream() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let mut calls = BTreeSet::new();
    for file in &files {
        for service in &file.service {
            let streams =
                service.method.iter().filter(|of| of.client_streaming() || of.server_streaming());
            let path = |name: &str| format!("/{}.{}/{name}", file.package(), service.name());
            calls.extend(streams.map(|of| path(of.name())));
        }
    }
    // The older reflection has no descriptors of its own.
    let older = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    calls.insert(older.to_owned());
    let routes = STREAMS.iter().filter(|route| !route.starts_with("/v1/"));
    assert_eq!(routes.map(|route| (*route).to_owned()).collect::<BTreeSet<_>>(), calls);
}

/// The mesh is given routes without a time limit by hand, which stand before those of all else.
#[test]
fn the_files_of_the_mesh_give_no_time_limit_to_what_streams() {
    let near = include_str!("../../../../../deploy/mesh/near.yaml");
    let far = include_str!("../../../../../deploy/mesh/far.yaml");
    let streams = BTreeSet::from(STREAMS);
    for file in [near, far] {
        let routes = file.lines().take_while(|line| !line.contains("prefix: /"));
        let unlimited = routes.filter(|line| line.contains(" timeout: 0s"));
        let path = |line: &'static str| line.split_once("path: ")?.1.split(' ').next();
        assert_eq!(unlimited.map(|line| path(line).expect(line)).collect::<BTreeSet<_>>(), streams);
        assert_eq!(file.matches(" timeout: 0s").count(), streams.len());
    }
}

/// The reasons that stand at each status code at the head of the contract.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let contract = include_str!("../../../../../api/orders/v1/orders.proto");
    let rows = contract.lines().filter_map(|line| line.strip_prefix("//   "));
    let (mut table, mut status) = (BTreeMap::<_, BTreeSet<_>>::new(), String::new());
    for row in rows {
        let mut words = row.split([' ', ',']).filter(|word| !word.is_empty());
        if !row.starts_with(' ') {
            words.next().expect("a status code").clone_into(&mut status);
        }
        table.entry(status.clone()).or_default().extend(words.map(str::to_owned));
    }
    table
}

/// The name of a status code in the specification of gRPC.
fn status(code: tonic::Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_contract_has_every_code_that_a_call_can_end_with() {
    // Of webhooks, and of what is no call.
    let not_of_calls = [Code::WebhookUnsigned, Code::WebhookMisfit, Code::HttpVersion];
    let reason = |code: &Code| code.as_str().replace('-', "_").to_uppercase();
    let mut codes = BTreeMap::<_, BTreeSet<_>>::new();
    for code in Code::ALL.iter().filter(|code| !not_of_calls.contains(code)) {
        codes.entry(status(code.grpc())).or_default().insert(reason(code));
    }
    // Where there is no such call, and where a change has no key.
    codes.entry("UNIMPLEMENTED".to_owned()).or_default().insert(reason(&Code::NotFound));
    codes.entry("UNKNOWN".to_owned()).or_default().insert(reason(&Code::OutcomeUnknown));
    assert_eq!(table(), codes);
}
