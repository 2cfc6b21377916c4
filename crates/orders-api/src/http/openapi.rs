//! The document as a whole: who we are, security, and the problem every error is.

mod parameters;
mod responses;

use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, RefOr, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};

pub(super) use self::{
    parameters::{
        BatchKey, CreateKey, IfNoneMatch, LastEventId, MoneyParams, PreferWait, SignatureHeaders,
        VerbParams,
    },
    responses::{
        BatchProblems, CancelReplies, ConfirmProblems, CreateProblems, FeedProblems,
        FulfillProblems, GetProblems, HistoryProblems, ListProblems, MoneyProblems, MoneyReplies,
        NoteProblems, PiecesProblems, RecordProblems, RefundProblems, ResolveProblems,
        ReturnProblems, UnkeyedProblems, VerbReplies, WebhookProblems,
    },
};
use crate::problem::Body;

/// The document of these paths, complete.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title(TITLE)
        .version("1.0.0")
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
        ))
        .build();
    let tag = |name, text| TagBuilder::new().name(name).description(Some(text)).build();
    document.tags = Some(vec![
        tag("orders", "Placing and reading orders."),
        tag("verbs", "Commands on an order that exists."),
        tag("money", "Moving an order's money."),
        tag("events", "The feed of everything that happened."),
        tag("gateway", "For the payment gateway, not for clients."),
    ]);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("ID.SECRET or JWT")
        .description(Some(
            "An API key, `ID.SECRET`, or a token (JWT) of the issuer that the service trusts. `make \
             run` prints a key for development and keeps it in `data/dev-key`; elsewhere `orderly key \
             new` makes it. Each opens the operations of its scopes.",
        ))
        .build();
    document.security = Some(vec![SecurityRequirement::new("key", [""; 0])]);
    let mut problem: Vec<(String, RefOr<Schema>)> = vec![(Body::name().into(), Body::schema())];
    Body::schemas(&mut problem);
    let components = document.components.take().unwrap_or_default();
    let components = ComponentsBuilder::from(components)
        .schemas_from_iter(problem)
        .security_scheme("key", SecurityScheme::Http(bearer))
        .build();
    document.components = Some(components);
    document
}

/// What the document and its page are called.
pub(super) const TITLE: &str = "Orderly API";

const DESCRIPTION: &str = "\
The order core behind your own checkout. Amounts are strings that count minor units: `\"499\"` is \
4.99 EUR. They are whole; only a unit price may have up to 6 digits more, so that `\"4.99\"` is 4.99 \
cents. Send `expected_total`, and a slip of that kind is refused. Every \
error is an RFC 9457 problem with a stable `code`. A request with an `Idempotency-Key` can be sent \
again safely. `x-request-id` and `traceparent` are taken from the request, or made, and echoed; \
`x-request-timeout-ms` says how long you will wait.";
