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
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The order's id or number."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))))
            .build();
        let if_match = header("If-Match", TAG_PATTERN)
            .description(Some("Only if the order is still at this version; `*` is any."))
            .example(Some("\"v1\"".into()))
            .build();
        vec![id, if_match, key(Required::False, "Makes one request of several tries.")]
    }
}

/// The key of a create.
pub(in crate::http) struct CreateKey;

impl IntoParams for CreateKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let why = "Makes one order of several tries. Not needed with `validate_only=true`.";
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

fn key(required: Required, why: &str) -> Parameter {
    let rule = "16 to 128 visible ASCII characters, drawn at random, bare or quoted.";
    header("Idempotency-Key", KEY_PATTERN)
        .required(required)
        .description(Some(format!("{why} {rule}")))
        .example(Some("9b2c4e7a-51f0-4d3b-8a66-0e2d4f6a8c10".into()))
        .build()
}

fn header(name: &str, pattern: &str) -> ParameterBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).schema(Some(text))
}
