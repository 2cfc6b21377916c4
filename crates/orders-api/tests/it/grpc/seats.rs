//! Calls that stream and are open to all have so many seats.

use axum::{
    body::Body,
    http::{Request, Version},
};
use tonic::{Code, Status};

use super::rows::framed;
use crate::shop::Shop;

/// Makes this call; tells what it was refused for, or its answer before the first message.
async fn seated(shop: &Shop, path: &str) -> Result<axum::response::Response, Status> {
    let request = Request::post(path).version(Version::HTTP_2);
    let request = request.header("content-type", "application/grpc");
    let answer = shop.open(request.body(Body::from(framed(&[]))).unwrap()).await;
    // What comes to nothing says so in its head.
    Status::from_header_map(answer.headers()).map_or(Ok(answer), Err)
}

#[tokio::test]
async fn whoever_finds_no_seat_is_told_that_there_is_no_such_call() {
    for path in [
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let shop = Shop::new();
        let mut taken = Vec::new();
        let status = loop {
            match seated(&shop, path).await {
                Ok(answer) => taken.push(answer),
                Err(status) => break status,
            }
            assert!(taken.len() < 5_000, "{path} has no bound");
        };
        // Clients that follow the standards do without it then.
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        taken.pop().expect("a seat");
        assert!(seated(&shop, path).await.is_ok(), "{path}: a seat that is left is free");
    }
}
