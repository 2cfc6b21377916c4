//! What handlers answer with, and how the document describes it.

use ::orders::{domain::Record, usecase::Done};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::wire::order::{Order, etag};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A new order: 201, and where it is.
pub(super) struct Created(pub(super) Done);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let location = format!("/v1/orders/{}", self.0.record.order.id);
        let mut response = (StatusCode::CREATED, Changed(self.0)).into_response();
        response.headers_mut().extend(header_pair(header::LOCATION, &location));
        response
    }
}

/// An order after a change, or as it is now when the change was made in an earlier try.
pub(super) struct Changed(pub(super) Done);

impl IntoResponse for Changed {
    fn into_response(self) -> Response {
        let Done { record, replayed } = self.0;
        let mut response = Current(record).into_response();
        if replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// An order as it is.
pub(super) struct Current(pub(super) Record);

impl IntoResponse for Current {
    fn into_response(self) -> Response {
        let tag = tag(&self.0);
        (tag, Json(Order::from(self.0))).into_response()
    }
}

/// The header that names the version of an order.
pub(super) fn tag(record: &Record) -> HeaderMap {
    header_pair(header::ETAG, &etag(record.order.version)).into_iter().collect()
}

fn header_pair(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(value).ok().map(|value| (name, value))
}
