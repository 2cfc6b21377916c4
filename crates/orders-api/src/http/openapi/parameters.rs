//! Header parameters that handlers read by hand.

use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::http::headers::{KEY_PATTERN, TAG_PATTERN};

/// The parameters of every verb.
pub(in crate::http) struct VerbParams;

impl IntoParams for VerbParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        verb(key(Required::False, "Makes one request of several tries."))
    }
}

/// The parameters of every verb that moves money.
pub(in crate::http) struct MoneyParams;

impl IntoParams for MoneyParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        verb(key(Required::True, "Makes one change of several tries."))
    }
}

/// The key of a create.
pub(in crate::http) struct CreateKey;

impl IntoParams for CreateKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let why = "Makes one order of several tries. With `validate_only=true` nothing is stored, and \
                   the header may be left out, which the document cannot state.";
        vec![key(Required::True, why)]
    }
}

/// The key of a batch.
pub(in crate::http) struct BatchKey;

impl IntoParams for BatchKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![key(Required::False, "Needed when an order has no key of its own.")]
    }
}

/// The versions a reader already has.
pub(in crate::http) struct IfNoneMatch;

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let why = "Answers 304 when the order is still at one of these versions.";
        let text = ObjectBuilder::new().schema_type(Type::String);
        vec![header("If-None-Match", text).description(Some(why)).build()]
    }
}

/// Where a live feed goes on.
pub(in crate::http) struct LastEventId;

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let why = "For a live feed: the last position already seen; wins over `after`.";
        let position = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(i64::MAX));
        vec![header("Last-Event-ID", position).description(Some(why)).build()]
    }
}

/// How long the answer may take for the payments to settle.
pub(in crate::http) struct PreferWait;

impl IntoParams for PreferWait {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let why = "`wait=N` (RFC 7240): the change is made at once, and the answer comes when no payment \
                   of the order is open any more, with the order as it is then; after N seconds at most, \
                   and in time for the request's deadline (`x-request-timeout-ms`, or the service's \
                   default). Other preferences are ignored.";
        // No pattern: RFC 7240 has what cannot be read ignored, and not refused.
        let text = ObjectBuilder::new().schema_type(Type::String);
        let wait = header("Prefer", text).description(Some(why)).example(Some("wait=5".into()));
        vec![wait.build()]
    }
}

/// What a webhook is signed with: Standard Webhooks.
pub(in crate::http) struct SignatureHeaders;

impl IntoParams for SignatureHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let required = |name, why: &str| {
            header(name, text()).required(Required::True).description(Some(why)).build()
        };
        let signature = "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{raw \
                         body}`; several with spaces between while a secret is replaced.";
        vec![
            required("webhook-id", "The event's id, the same in every try."),
            required(
                "webhook-timestamp",
                "When this try was made, in seconds since the Unix epoch.",
            ),
            required("webhook-signature", signature),
        ]
    }
}

fn key(required: Required, why: &str) -> Parameter {
    let rule = "16 to 128 visible ASCII characters, bare or quoted. Draw a new one at random for each \
                request, such as a UUID, and send it again with every try of that request; with another \
                request it is refused.";
    header("Idempotency-Key", text(KEY_PATTERN))
        .required(required)
        .description(Some(format!("{why} {rule}")))
        .example(Some("9b2c4e7a-51f0-4d3b-8a66-0e2d4f6a8c10".into()))
        .build()
}

fn header(name: &str, schema: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).schema(Some(schema))
}

fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

/// The parameters of a verb, with its key.
fn verb(key: Parameter) -> Vec<Parameter> {
    let id = ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The order's id or number."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))))
        .build();
    let if_match = header("If-Match", text(TAG_PATTERN))
        .description(Some(
            "Only if the order is still at this version, or at one of these; `*` is any.",
        ))
        .build();
    vec![id, if_match, key]
}
