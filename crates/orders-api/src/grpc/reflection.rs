//! Reflection by the standard of gRPC, `grpc.reflection.v1`, for tools that have no contract at hand.
//!
//! Open to all, as the document of the HTTP API is. The older `v1alpha`, which many tools ask first, has
//! the same messages under another name and is answered too. Deliberately absent: extensions, which
//! the contract has none of.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    extract::Request,
    middleware::{from_fn, map_request},
    routing::post_service,
};
use futures_util::stream;
use http::Uri;
use mainstay::lifecycle::Phase;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, OneofDescriptorProto,
};
use tokio::sync::watch;
use tonic::{Code, Response, Status, Streaming};

use self::pb::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
    server_reflection_server::{ServerReflection, ServerReflectionServer},
};
use super::{
    DESCRIPTORS,
    heard::greet,
    seats::{Seat, Seats},
    telling::{Call, Telling},
};
use crate::{api::Config, gate, problem::Problem};

generated! {
    /// The messages of `api/grpc/reflection/v1/reflection.proto`, a client and a server.
    "grpc.reflection.v1", missing_docs
}

/// The call, by the standard.
pub(crate) const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// The same call, by the older one.
pub(crate) const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The largest message that is read, in bytes: it holds a name.
const LARGEST: usize = 1024;

/// The routes of reflection.
pub(crate) fn routes(config: &Config) -> Router {
    let reflection = Reflection {
        known: Arc::new(Known::default()),
        phase: config.phase.clone(),
        seats: Seats::default(),
    };
    let service = ServerReflectionServer::new(reflection).max_decoding_message_size(LARGEST);
    let older = post_service(service.clone()).route_layer(map_request(as_v1));
    Router::new()
        .route(V1, post_service(service).route_layer(from_fn(greet)))
        .route(V1_ALPHA, older.route_layer(from_fn(greet)))
        .method_not_allowed_fallback(gate::method_not_allowed)
}

async fn as_v1(mut request: Request) -> Request {
    *request.uri_mut() = Uri::from_static(V1);
    request
}

struct Reflection {
    known: Arc<Known>,
    phase: watch::Receiver<Phase>,
    seats: Seats,
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Telling<ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: tonic::Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let seat = self.seats.take()?;
        let call = Call::of(&request)?;
        let (known, phase) = (Arc::clone(&self.known), self.phase.clone());
        let asking = Asking { requests: request.into_inner(), known, phase, _seat: seat };
        Ok(call.tell(stream::unfold(asking, Asking::next)))
    }
}

/// One who asks.
struct Asking {
    requests: Streaming<ServerReflectionRequest>,
    known: Arc<Known>,
    phase: watch::Receiver<Phase>,
    _seat: Seat,
}

impl Asking {
    /// The answer to what is asked next, until the process drains. How long nothing may come is the
    /// server's to say.
    async fn next(mut self) -> Option<(Result<ServerReflectionResponse, Problem>, Self)> {
        let asked = tokio::select! {
            biased;
            _ = self.phase.wait_for(|phase| *phase >= Phase::Draining) => return None,
            asked = self.requests.message() => asked,
        };
        let answer = match asked {
            Ok(asked) => Ok(self.known.answer(asked?)),
            Err(status) => Err(Problem::of(&status)),
        };
        Some((answer, self))
    }
}

/// All that can be asked for.
struct Known {
    services: Vec<String>,
    files: Vec<File>,
}

struct File {
    name: String,
    symbols: Symbols,
    encoded: Vec<u8>,
}

/// The full names of all that a file says.
#[derive(Default)]
struct Symbols {
    messages: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Default for Known {
    fn default() -> Self {
        // It was written by the build; what the tests read can be read.
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default().file;
        let services = files.iter().flat_map(services).collect();
        Self { services, files: files.iter().map(File::from).collect() }
    }
}

impl Known {
    fn answer(&self, asked: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &asked.message_request {
            Some(MessageRequest::ListServices(_)) => self.services(),
            Some(MessageRequest::FileByFilename(name)) => self.file(|file| file.name == *name),
            Some(MessageRequest::FileContainingSymbol(symbol)) => {
                self.file(|file| file.symbols.have(symbol))
            }
            Some(MessageRequest::FileContainingExtension(_)) => {
                error(Code::NotFound, "there are no extensions")
            }
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extensions(name),
            None => error(Code::InvalidArgument, "nothing is asked that is known here"),
        };
        ServerReflectionResponse {
            valid_host: asked.host.clone(),
            original_request: Some(asked),
            message_response: Some(answer),
        }
    }

    fn services(&self) -> MessageResponse {
        let service = self.services.iter().map(|name| ServiceResponse { name: name.clone() });
        MessageResponse::ListServicesResponse(ListServiceResponse { service: service.collect() })
    }

    fn file(&self, is_meant: impl Fn(&File) -> bool) -> MessageResponse {
        let Some(file) = self.files.iter().find(|file| is_meant(file)) else {
            return error(Code::NotFound, "there is no such file or symbol");
        };
        let file_descriptor_proto = vec![file.encoded.clone()];
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
    }

    /// The extensions of a message: none.
    fn extensions(&self, name: &str) -> MessageResponse {
        if !self.files.iter().any(|file| file.symbols.messages.contains(name)) {
            return error(Code::NotFound, "there is no such message");
        }
        let (base_type_name, extension_number) = (name.to_owned(), Vec::new());
        MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
            base_type_name,
            extension_number,
        })
    }
}

fn error(code: Code, message: &str) -> MessageResponse {
    let (error_code, error_message) = (code.into(), message.to_owned());
    MessageResponse::ErrorResponse(ErrorResponse { error_code, error_message })
}

impl From<&FileDescriptorProto> for File {
    fn from(file: &FileDescriptorProto) -> Self {
        let mut symbols = Symbols { others: services(file).collect(), ..Symbols::default() };
        for service in &file.service {
            let scope = format!("{}.{}", file.package(), service.name());
            symbols.add_all(&scope, service.method.iter().map(MethodDescriptorProto::name));
        }
        for values in &file.enum_type {
            symbols.add_enum(file.package(), values);
        }
        for message in &file.message_type {
            symbols.add_message(file.package(), message);
        }
        Self { name: file.name().to_owned(), symbols, encoded: file.encode_to_vec() }
    }
}

/// The full names of the services of a file.
fn services(file: &FileDescriptorProto) -> impl Iterator<Item = String> {
    file.service.iter().map(|service| format!("{}.{}", file.package(), service.name()))
}

impl Symbols {
    fn have(&self, name: &str) -> bool {
        self.messages.contains(name) || self.others.contains(name)
    }

    /// Adds what has these names here.
    fn add_all<'n>(&mut self, scope: &str, names: impl Iterator<Item = &'n str>) {
        self.others.extend(names.map(|name| format!("{scope}.{name}")));
    }

    /// Adds an enum and its values, whose names stand beside its own.
    fn add_enum(&mut self, scope: &str, values: &EnumDescriptorProto) {
        let names = values.value.iter().map(EnumValueDescriptorProto::name);
        self.add_all(scope, names.chain([values.name()]));
    }

    /// Adds a message and all that is within it.
    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        self.add_all(&name, message.field.iter().map(FieldDescriptorProto::name));
        self.add_all(&name, message.oneof_decl.iter().map(OneofDescriptorProto::name));
        for values in &message.enum_type {
            self.add_enum(&name, values);
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        self.messages.insert(name);
    }
}
