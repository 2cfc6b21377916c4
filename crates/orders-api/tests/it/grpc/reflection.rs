//! Reflection by the standard of gRPC.

use std::io;

use axum::{
    body::{Body, Bytes},
    http::{Request, Version, request},
};
use futures_util::stream;
use orders_api::grpc::reflection::pb::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::time::Instant;
use tonic::Code;

use super::rows::{framed, send, streamed};
use crate::shop::Shop;

/// The call by one of these versions of the standard.
fn call(version: &str) -> request::Builder {
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let request = Request::post(path).version(Version::HTTP_2);
    request.header("content-type", "application/grpc")
}

/// What it answers, to whoever asks.
async fn told(shop: &Shop, version: &str, asked: MessageRequest) -> MessageResponse {
    let asked = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let answer = send(shop, call(version), framed(&asked.encode_to_vec())).await.unwrap();
    let answer = ServerReflectionResponse::decode(&answer[..]).unwrap();
    assert_eq!(answer.original_request, Some(asked));
    answer.message_response.expect("an answer")
}

#[tokio::test]
async fn every_service_is_listed_in_both_versions() {
    let shop = Shop::new();
    for version in ["v1", "v1alpha"] {
        let told = told(&shop, version, MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(list) = told else { panic!("{told:?}") };
        let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        names.sort_unstable();
        let expected = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "orders.v1.OrderService",
        ];
        assert_eq!(names, expected, "{version}");
    }
}

#[tokio::test]
async fn a_symbol_leads_to_its_file_and_on_to_all_that_it_imports() {
    let shop = Shop::new();
    let mut open = Vec::new();
    for symbol in [
        "orders.v1.OrderService",
        "orders.v1.OrderService.CreateOrder",
        "orders.v1.Money",
        "orders.v1.NewOrder.MetadataEntry",
        "orders.v1.Order.id",
        "orders.v1.CreateOrderResponse.outcome",
        "orders.v1.OrderState",
        "orders.v1.ORDER_STATE_PENDING",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        "grpc.health.v1.HealthCheckResponse.SERVING",
    ] {
        open.push(MessageRequest::FileContainingSymbol(symbol.to_owned()));
    }
    while let Some(asked) = open.pop() {
        let told = told(&shop, "v1", asked.clone()).await;
        let MessageResponse::FileDescriptorResponse(found) = told else { panic!("{asked:?}") };
        for file in found.file_descriptor_proto {
            let file = FileDescriptorProto::decode(&file[..]).unwrap();
            open.extend(file.dependency.into_iter().map(MessageRequest::FileByFilename));
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let shop = Shop::new();
    for asked in [
        MessageRequest::FileContainingSymbol("orders.v1.Forget".to_owned()),
        MessageRequest::FileByFilename("orders/v2/orders.proto".to_owned()),
        MessageRequest::AllExtensionNumbersOfType("orders.v1.OrderState".to_owned()),
    ] {
        let told = told(&shop, "v1", asked).await;
        let MessageResponse::ErrorResponse(error) = told else { panic!("{told:?}") };
        assert_eq!(error.error_code, i32::from(Code::NotFound), "{error:?}");
    }
}

#[tokio::test]
async fn a_message_has_no_extensions() {
    let shop = Shop::new();
    let asked = MessageRequest::AllExtensionNumbersOfType("orders.v1.Money".to_owned());
    let told = told(&shop, "v1", asked).await;
    let MessageResponse::AllExtensionNumbersResponse(found) = told else { panic!("{told:?}") };
    assert_eq!(
        (found.base_type_name.as_str(), found.extension_number),
        ("orders.v1.Money", vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_nothing_is_heard_until_the_deadline() {
    let shop = Shop::new();
    for version in ["v1", "v1alpha"] {
        let never = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let before = Instant::now();
        let (_, status) = streamed(&shop, call(version).header("grpc-timeout", "12S"), never).await;
        assert_eq!(before.elapsed().as_secs(), 12, "{version}");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{version}: {status:?}");
    }
}
