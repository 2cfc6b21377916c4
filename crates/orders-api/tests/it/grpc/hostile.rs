//! What comes to the address of a call and is not as a call should be.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{Request, Version},
};
use futures_util::{StreamExt as _, stream};
use mainstay::metrics::Format;
use orders_api::grpc::LARGEST_IN;
use tonic::Code;

use super::rows::{call, framed, reason_of, send};
use crate::shop::{OWN, Shop};

const LIST: &str = "/orders.v1.OrderService/ListOrders";

fn list() -> http::request::Builder {
    call("ListOrders").header("authorization", OWN)
}

#[tokio::test]
async fn what_is_no_call_is_answered_as_http_does() {
    let shop = Shop::new();
    let request = || Request::post(LIST).header("authorization", OWN);
    for (version, kind, status, code) in [
        (Version::HTTP_2, "application/json", 415, "unsupported-media-type"),
        (Version::HTTP_2, "application/grpc-web", 415, "unsupported-media-type"),
        (Version::HTTP_11, "application/json", 415, "unsupported-media-type"),
        (Version::HTTP_11, "application/grpc", 505, "http-version"),
        (Version::HTTP_11, "application/grpc+proto", 505, "http-version"),
    ] {
        let request = request().version(version).header("content-type", kind);
        let answer = shop.send(request.body(Body::from(framed(&[]))).unwrap()).await;
        answer.problem(status, code);
    }
    let request = Request::get(LIST).header("authorization", OWN).version(Version::HTTP_2);
    shop.send(request.body(Body::empty()).unwrap()).await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn there_is_no_other_call() {
    let shop = Shop::new();
    let status = send(&shop, call("Forget").header("authorization", OWN), framed(&[])).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert_eq!(reason_of(&status).0, "NOT_FOUND");
}

#[tokio::test]
async fn a_call_may_name_its_encoding_of_messages() {
    let shop = Shop::new();
    for (kind, code) in [
        ("application/grpc", None),
        ("application/grpc+proto", None),
        ("application/grpc; a=b", None),
        ("application/grpc+json", Some("UNSUPPORTED_MEDIA_TYPE")),
    ] {
        let request = Request::post(LIST).version(Version::HTTP_2).header("authorization", OWN);
        let answer = send(&shop, request.header("content-type", kind), framed(&[])).await;
        let reason = answer.err().map(|status| reason_of(&status).0);
        assert_eq!(reason.as_deref(), code, "{kind}");
    }
}

#[tokio::test]
async fn a_compressed_message_is_refused_with_what_is_taken() {
    let shop = Shop::new();
    let flagged = [&[1][..], &framed(&[])[1..]].concat();
    for (encoding, body) in
        [("gzip", framed(&[])), ("zstd", flagged.clone()), ("identity", flagged)]
    {
        let status = send(&shop, list().header("grpc-encoding", encoding), body).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{encoding}: {status:?}");
        assert_eq!(reason_of(&status).0, "UNSUPPORTED_ENCODING");
        assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    }
    // It is counted as the refusal that it is.
    let metrics = shop.metrics.render(Format::Text);
    let counts = |line: &str| line.contains("ListOrders\"") && line.contains("code=\"415\"");
    assert!(metrics.lines().any(counts), "{metrics}");
    let plain = list().header("grpc-encoding", "identity");
    assert!(send(&shop, plain, framed(&[])).await.is_ok());
}

#[tokio::test]
async fn a_call_has_one_message() {
    let shop = Shop::new();
    for body in [
        Vec::new(),
        vec![0; 4],
        [framed(&[]), framed(&[])].concat(),
        [framed(&[]), vec![0]].concat(),
        framed(&[0x38, 1])[..6].to_vec(),
    ] {
        let told = format!("{body:x?}");
        let status = send(&shop, list(), body).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{told}: {status:?}");
        assert_eq!(reason_of(&status).0, "MALFORMED", "{told}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let shop = Shop::new();
    for message in [
        // A length without an end, a group, text that is not UTF-8, a number where a text belongs.
        &[0x1a, 0xff][..],
        &[0x0b, 0x0c],
        &[0x1a, 1, 0xff],
        &[0x18, 0],
    ] {
        let status = send(&shop, list(), framed(message)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{message:x?}: {status:?}");
        assert_eq!(reason_of(&status).0, "MALFORMED", "{message:x?}");
    }
}

#[tokio::test]
async fn a_stream_into_a_call_is_cut_off_at_the_largest_message() {
    let shop = Shop::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let small = Bytes::from(framed(&[]).repeat(13_107));
    let size = small.len();
    let endless = stream::repeat(small).map(move |chunk| {
        counted.fetch_add(chunk.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(chunk)
    });
    let status = send(&shop, list(), Body::from_stream(endless)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason_of(&status).0, "PAYLOAD_TOO_LARGE");
    let sent = sent.load(Ordering::Relaxed);
    assert!((LARGEST_IN..LARGEST_IN + 2 * size).contains(&sent), "{sent}");
}
