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
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::Uri;
use mainstay::lifecycle::Phase;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tokio::sync::watch;
use tonic::{Code, Response, Status, Streaming};

use self::pb::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
    server_reflection_server::{ServerReflection, ServerReflectionServer},
};
use super::{DESCRIPTORS, heard::greet};
use crate::{api::Config, gate};

/// The messages of `api/grpc/reflection/v1/reflection.proto`, a client and a server.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    missing_docs,
    unused_qualifications,
    reason = "it is generated, from a file of others"
)]
pub mod pb {
    tonic::include_proto!("grpc.reflection.v1");
}

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The largest message that is read, in bytes: it holds a name.
const LARGEST: usize = 1024;

/// The routes of reflection.
pub(crate) fn routes(config: &Config) -> Router {
    let reflection = Reflection { known: Arc::new(Known::default()), phase: config.phase.clone() };
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
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = BoxStream<'static, Result<ServerReflectionResponse, Status>>;

    async fn server_reflection_info(
        &self,
        request: tonic::Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let (known, phase) = (Arc::clone(&self.known), self.phase.clone());
        let asking = Asking { requests: request.into_inner(), known, phase };
        Ok(Response::new(stream::unfold(asking, Asking::next).boxed()))
    }
}

/// One who asks.
struct Asking {
    requests: Streaming<ServerReflectionRequest>,
    known: Arc<Known>,
    phase: watch::Receiver<Phase>,
}

impl Asking {
    /// The answer to what is asked next, until the process drains. How long nothing may come is the
    /// server's to say.
    async fn next(mut self) -> Option<(Result<ServerReflectionResponse, Status>, Self)> {
        let asked = tokio::select! {
            biased;
            _ = self.phase.wait_for(|phase| *phase >= Phase::Draining) => return None,
            asked = self.requests.message() => asked,
        };
        let answer = match asked {
            Ok(asked) => Ok(self.known.answer(asked?)),
            Err(status) => Err(status),
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
    /// The full names of all that it says.
    symbols: BTreeSet<String>,
    encoded: Vec<u8>,
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
                self.file(|file| file.symbols.contains(symbol))
            }
            Some(
                MessageRequest::FileContainingExtension(_)
                | MessageRequest::AllExtensionNumbersOfType(_),
            ) => error(Code::NotFound, "there are no extensions"),
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
}

fn error(code: Code, message: &str) -> MessageResponse {
    let (error_code, error_message) = (code.into(), message.to_owned());
    MessageResponse::ErrorResponse(ErrorResponse { error_code, error_message })
}

impl From<&FileDescriptorProto> for File {
    fn from(file: &FileDescriptorProto) -> Self {
        let mut symbols: BTreeSet<_> = services(file).collect();
        for service in &file.service {
            let scope = format!("{}.{}", file.package(), service.name());
            symbols.extend(service.method.iter().map(|call| format!("{scope}.{}", call.name())));
        }
        symbols.extend(file.enum_type.iter().map(|of| format!("{}.{}", file.package(), of.name())));
        for message in &file.message_type {
            add(file.package(), message, &mut symbols);
        }
        Self { name: file.name().to_owned(), symbols, encoded: file.encode_to_vec() }
    }
}

/// The full names of the services of a file.
fn services(file: &FileDescriptorProto) -> impl Iterator<Item = String> {
    file.service.iter().map(|service| format!("{}.{}", file.package(), service.name()))
}

/// Adds a message and all that is within it.
fn add(scope: &str, message: &DescriptorProto, symbols: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    symbols.extend(message.enum_type.iter().map(|of| format!("{name}.{}", of.name())));
    for nested in &message.nested_type {
        add(&name, nested, symbols);
    }
    symbols.insert(name);
}
