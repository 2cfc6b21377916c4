//! The answers that operations share: the order after a verb, and problems by status.

use std::collections::BTreeMap;

use http::StatusCode;
use utoipa::{
    IntoResponses, ToSchema as _,
    openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use crate::{
    problem::{Body, Code},
    wire::order::Order,
};

/// What every operation can answer.
const ALWAYS: [Code; 8] = [
    Code::Malformed,
    Code::InvalidTimeout,
    Code::RateLimited,
    Code::Internal,
    Code::Overloaded,
    Code::StoreBusy,
    Code::StoreUnavailable,
    Code::DeadlineExceeded,
];

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($code:ident)*;)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                problems(&[$(Code::$code,)*])
            }
        }
    )+};
}

problems! {
    /// What a create can answer besides an order.
    CreateProblems: KeyMissing ExternalReferenceTaken KeyExpired Contended PayloadTooLarge
        UnsupportedMediaType Invalid TotalMismatch KeyReused NoGateway OutcomeUnknown StoreFull;
    /// What a batch can answer as a whole.
    BatchProblems: PayloadTooLarge UnsupportedMediaType Invalid;
    /// What reading one order can answer besides it.
    GetProblems: NotFound;
    /// What a history can answer besides a page.
    HistoryProblems: NotFound InvalidPageToken;
    /// What a list can answer besides a page.
    ListProblems: InvalidPageToken;
    /// What the feed can answer besides events.
    FeedProblems: CursorTooOld;
    /// What a confirmation can answer besides the order.
    ConfirmProblems: NotFound IllegalTransition PaymentInProgress KeyExpired Contended VersionMismatch PayloadTooLarge
        UnsupportedMediaType Invalid KeyReused OutcomeUnknown StoreFull;
    /// What adding a note can answer besides the order.
    NoteProblems: NotFound IllegalTransition NotesFull KeyExpired Contended VersionMismatch
        PayloadTooLarge UnsupportedMediaType Invalid KeyReused OutcomeUnknown StoreFull;
    /// What a verb that moves money can answer besides the order.
    MoneyProblems: KeyMissing NotFound IllegalTransition PaymentInProgress PaymentInDoubt
        AmountNotLeft NoSuchPayment TooManyPayments KeyExpired Contended VersionMismatch
        PayloadTooLarge UnsupportedMediaType Invalid KeyReused NoGateway OutcomeUnknown StoreFull;
    /// What cancelling can answer besides the order.
    PiecesProblems: KeyMissing NotFound IllegalTransition HandedOver NoSuchLine PiecesNotLeft KeyExpired
        Contended VersionMismatch PayloadTooLarge UnsupportedMediaType Invalid KeyReused
        OutcomeUnknown StoreFull;
    /// What a fulfillment can answer besides the order.
    FulfillProblems: KeyMissing NotFound IllegalTransition NoSuchLine PiecesNotLeft KeyExpired
        Contended VersionMismatch PayloadTooLarge UnsupportedMediaType Invalid KeyReused
        OutcomeUnknown StoreFull;
    /// What a return can answer besides the order.
    ReturnProblems: KeyMissing NotFound IllegalTransition NoSuchLine PiecesNotLeft KeyExpired Contended
        VersionMismatch PayloadTooLarge UnsupportedMediaType Invalid KeyReused OutcomeUnknown
        StoreFull;
    /// What a refund can answer besides the order.
    RefundProblems: KeyMissing NotFound IllegalTransition PaymentInDoubt AmountNotLeft NoSuchPayment
        NoSuchLine PiecesNotLeft TooManyPayments KeyExpired Contended VersionMismatch
        PayloadTooLarge UnsupportedMediaType Invalid KeyReused OutcomeUnknown StoreFull;
    /// What resolving an operation can answer besides the order.
    ResolveProblems: KeyMissing NotFound IllegalTransition NoSuchPayment NotParked MovedElsewhere
        KeyExpired Contended VersionMismatch PayloadTooLarge UnsupportedMediaType Invalid KeyReused
        OutcomeUnknown StoreFull;
    /// What recording a payment can answer besides the order.
    RecordProblems: KeyMissing NotFound IllegalTransition PaymentInProgress AmountNotLeft TooManyPayments KeyExpired
        Contended VersionMismatch PayloadTooLarge UnsupportedMediaType Invalid KeyReused
        OutcomeUnknown StoreFull;
}

/// What is answered to a change that may come without a key, where it may have been made and must not be
/// tried again: in the place of what its other problems say of the status.
pub(in crate::http) struct UnkeyedProblems;

impl IntoResponses for UnkeyedProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let response = problem(status, &[Code::Internal, Code::OutcomeUnknown]);
        BTreeMap::from([(status.as_str().to_owned(), response.into())])
    }
}

/// What a verb answers when it is carried out.
pub(in crate::http) struct VerbReplies;

impl IntoResponses for VerbReplies {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([("200".to_owned(), order_after("The order after it.").into())])
    }
}

/// What a verb that moves money answers when it is accepted.
pub(in crate::http) struct MoneyReplies;

impl IntoResponses for MoneyReplies {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let text = "Accepted: the order as it is now. What becomes of it is told later.";
        BTreeMap::from([("202".to_owned(), after_wait(order_after(text)).into())])
    }
}

/// What a cancel answers when it is carried out.
pub(in crate::http) struct CancelReplies;

impl IntoResponses for CancelReplies {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = after_wait(order_after("The order after it."));
        BTreeMap::from([("200".to_owned(), response.into())])
    }
}

/// The same answer where it may be preferred to come later.
fn after_wait(mut response: Response) -> Response {
    let text = "The `wait` of `Prefer`, when it was followed.";
    let header = HeaderBuilder::new().description(Some(text)).build();
    response.headers.insert("Preference-Applied".to_owned(), header.into());
    response
}

fn order_after(text: &str) -> Response {
    let header = |text| HeaderBuilder::new().description(Some(text)).build();
    let order = ContentBuilder::new().schema(Some(Ref::from_schema_name(Order::name()))).build();
    ResponseBuilder::new()
        .description(text)
        .header("ETag", header("The version of the order."))
        .header("Idempotent-Replayed", header("`true` when it was done in an earlier try."))
        .content("application/json", order)
        .build()
}

/// What a webhook can be answered besides that it was taken in. No key opens it.
pub(in crate::http) struct WebhookProblems;

impl IntoResponses for WebhookProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        by_status(&[
            Code::WebhookUnsigned,
            Code::NotFound,
            Code::WebhookMisfit,
            Code::Contended,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::OutcomeUnknown,
            Code::StoreFull,
        ])
    }
}

/// These problems and those that every operation of a client can answer, by status.
fn problems(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let by_who_asks = [Code::Unauthenticated, Code::InsufficientScope, Code::TokenKeysUnavailable];
    by_status(&[codes, &by_who_asks].concat())
}

/// These problems and those that every operation can answer, by status.
fn by_status(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL.iter().filter(|code| ALWAYS.contains(code) || codes.contains(code)) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let response = |(status, codes): (StatusCode, Vec<Code>)| {
        (status.as_str().to_owned(), problem(status, &codes).into())
    };
    by_status.into_iter().map(response).collect()
}

fn problem(status: StatusCode, codes: &[Code]) -> Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(Body::name()))).build();
    let header = |text| HeaderBuilder::new().description(Some(text)).build();
    let mut response = ResponseBuilder::new()
        .description(lines.join(" "))
        .content("application/problem+json", body);
    if codes.iter().any(|code| code.challenge().is_some()) {
        response = response.header("WWW-Authenticate", header("How to authenticate."));
    }
    if codes.iter().any(|code| code.status() == status && code.retry_after().is_some()) {
        response = response.header("Retry-After", header("Seconds to wait before the next try."));
    }
    response.build()
}
