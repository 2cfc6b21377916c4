//! How a problem reads over gRPC: a `google.rpc.Status` with its standard details.

use std::{collections::HashMap, error::Error as _, sync::Arc};

use mainstay_context::Context;
use orders::domain::{Money, Totals};
use tonic::{Code as Grpc, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::{Code, Facts, FieldError, KEY, Problem, from};

/// In how many milliseconds to try again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Whose the reasons are.
const DOMAIN: &str = "orderly.dev";
/// The most that is told of single fields, in bytes. Details travel in a header, and callers bound
/// theirs, some at 8 KiB.
const MOST: usize = 3072;

impl Problem {
    /// How it reads to the gRPC caller of this request.
    pub(crate) fn status(&self, cx: &Context) -> Status {
        let code = match (&self.facts, self.code) {
            // Where there is nothing for anybody there is no such call.
            (Facts::NoAddress, _) => Grpc::Unimplemented,
            // Proxies and clients look at the code alone, and try again what is unavailable.
            (Facts::Unkeyed, Code::OutcomeUnknown) => Grpc::Unknown,
            _ => self.code.grpc(),
        };
        let reason = reason(self.code.as_str());
        let mut details = ErrorDetails::new();
        details.set_error_info(&reason, DOMAIN, self.metadata(cx));
        details.set_request_info(cx.request_id().as_str(), "");
        let violations = violations(self.errors());
        if !violations.is_empty() {
            details.set_bad_request(violations);
        }
        if code == Grpc::FailedPrecondition || self.code == Code::VersionMismatch {
            details.add_precondition_failure_violation(&reason, "order", &self.detail);
        }
        let after = self.retry_after();
        if let Some(after) = after {
            details.set_retry_info(Some(after));
        }
        if let Facts::Limit(limit, _) = self.facts {
            details.add_quota_failure_violation(limit, &self.detail);
        }
        let mut status = Status::with_error_details(code, &self.detail, details);
        if let Some(after) = after {
            // For clients that try again by themselves: they look at no details.
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            status.metadata_mut().insert(PUSHBACK, millis.into());
        }
        if self.code == Code::UnsupportedEncoding {
            let plain = MetadataValue::from_static("identity");
            status.metadata_mut().insert("grpc-accept-encoding", plain);
        }
        status
    }

    /// What else a program can use, by the names of the HTTP API.
    fn metadata(&self, cx: &Context) -> HashMap<String, String> {
        let mut all = HashMap::new();
        let mut tell = |name: &str, value: String| {
            all.insert(name.to_owned(), value);
        };
        tell("retryable", self.retryable().to_string());
        tell("advice", self.then().to_owned());
        if !cx.trace().is_none() {
            tell("trace_id", cx.trace().trace_id_hex());
        }
        if self.replayed {
            tell("replayed", true.to_string());
        }
        match &self.facts {
            Facts::None | Facts::Unkeyed | Facts::NoAddress | Facts::After(_) => {}
            Facts::Denied(denied) => tell("scope", denied.scope.to_owned()),
            Facts::Limit(limit, _) => tell("limit", (*limit).to_owned()),
            // Not all of them may have room in the details.
            Facts::Errors(errors) => tell("errors", errors.len().to_string()),
            Facts::State(state) => tell("allowed_transitions", from::calls(*state).join(",")),
            Facts::Version(version) => tell("current_version", version.to_string()),
            Facts::Order(order) => tell("order", order.to_string()),
            Facts::Oldest(position) => tell("oldest_position", position.to_string()),
            Facts::Totals(expected, computed) => {
                for (name, money) in totals(*expected, computed) {
                    tell(&format!("{name}_minor"), money.minor.to_string());
                }
                tell("expected_currency", expected.currency.to_string());
                tell("computed_currency", computed.total.currency.to_string());
            }
        }
        all
    }

    /// What a status stands for that the gRPC server answers with: the problem of a call, or else
    /// that of a message that cannot be read. All other faults of a message are found before.
    pub(crate) fn of(status: &Status) -> Self {
        let own = status.source().and_then(|source| source.downcast_ref::<Self>());
        let misread = || Self::new(Code::Malformed, from::sentence(status.message()));
        own.cloned().unwrap_or_else(misread)
    }
}

/// The problem goes along as the source, for the layer that knows the request and answers it.
impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut status = Self::new(problem.code.grpc(), &problem.detail);
        status.set_source(Arc::new(problem));
        status
    }
}

/// The name of a code in the specification of gRPC.
pub(super) fn name(code: Grpc) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// As the error model spells a code: `version-mismatch` is `VERSION_MISMATCH`.
fn reason(code: &str) -> String {
    code.replace('-', "_").to_ascii_uppercase()
}

/// What is told of single fields, as far as there is room for it.
fn violations(errors: &[FieldError]) -> Vec<FieldViolation> {
    let mut room = MOST;
    let mut told = Vec::new();
    for error in errors {
        let (field, reason) = (field(error), reason(&error.code));
        let size = field.len() + error.detail.len() + reason.len();
        let Some(rest) = room.checked_sub(size) else { continue };
        let violation = FieldViolation::new(field, &error.detail);
        told.push(FieldViolation { reason, ..violation });
        room = rest;
    }
    told
}

/// Where it is in the message: `/order/lines/0/sku` is `order.lines[0].sku`.
fn field(error: &FieldError) -> String {
    let Some(pointer) = &error.pointer else {
        let name = error.parameter.as_deref().unwrap_or_default();
        return if name == KEY { "idempotency_key" } else { name }.to_owned();
    };
    let mut path = String::new();
    // What the client calls its metadata is called so in a message too, whatever it is.
    let mut is_own = false;
    for segment in pointer.split('/').skip(1) {
        let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !is_own {
            if path == "lines" {
                // Of a verb: they are in a message of their own, whose absence says something.
                path.push_str(".pieces");
            }
            path.extend(["[", segment, "]"]);
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        // The one field that is called otherwise in a message.
        let name = if segment == "amount_minor" && !is_own { "minor" } else { segment };
        path.push_str(&name.replace("~1", "/").replace("~0", "~"));
        is_own = segment == "metadata";
    }
    path
}

fn totals(expected: Money, computed: &Totals) -> [(&'static str, Money); 8] {
    [
        ("expected_total", expected),
        ("computed_subtotal", computed.subtotal),
        ("computed_line_discount", computed.line_discount),
        ("computed_order_discount", computed.order_discount),
        ("computed_exclusive_tax", computed.exclusive_tax),
        ("computed_inclusive_tax", computed.inclusive_tax),
        ("computed_shipping", computed.shipping),
        ("computed_total", computed.total),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new("grpc-1".parse().unwrap())
    }

    #[test]
    fn both_protocols_say_the_same_of_a_code() {
        for code in Code::ALL {
            let (http, grpc) = (code.status().as_u16(), code.grpc());
            let fits = match http {
                400 | 422 => grpc == Grpc::InvalidArgument,
                415 => [Grpc::InvalidArgument, Grpc::Unimplemented].contains(&grpc),
                401 => grpc == Grpc::Unauthenticated,
                403 => grpc == Grpc::PermissionDenied,
                404 => grpc == Grpc::NotFound,
                405 | 501 | 505 => grpc == Grpc::Unimplemented,
                409 => {
                    [Grpc::FailedPrecondition, Grpc::AlreadyExists, Grpc::Aborted].contains(&grpc)
                }
                410 => grpc == Grpc::OutOfRange,
                412 => grpc == Grpc::Aborted,
                413 | 429 | 507 => grpc == Grpc::ResourceExhausted,
                500 => grpc == Grpc::Internal,
                503 => grpc == Grpc::Unavailable,
                504 => grpc == Grpc::DeadlineExceeded,
                _ => false,
            };
            assert!(fits, "{code:?}: {http} and {}", name(grpc));
        }
    }

    #[test]
    fn every_reason_is_what_the_error_model_takes() {
        for code in Code::ALL {
            let status = Problem::new(*code, "It is so.").status(&context());
            assert_eq!((status.code(), status.message()), (code.grpc(), "It is so."));
            let info = status.get_details_error_info().unwrap();
            let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            assert!(info.reason.len() <= 63 && info.reason.bytes().all(plain), "{}", info.reason);
            assert_eq!(info.domain, "orderly.dev");
            assert_eq!(info.metadata["retryable"], code.retryable().to_string());
            assert_eq!(status.get_details_request_info().unwrap().request_id, "grpc-1");
        }
    }

    #[test]
    fn a_change_without_a_key_that_may_be_made_is_not_tried_again_by_a_proxy() {
        let unknown = Problem::new(Code::OutcomeUnknown, "It may be made.");
        assert_eq!(unknown.status(&context()).code(), Grpc::Unavailable);
        assert_eq!(unknown.answered().as_u16(), 503);
        let unkeyed = unknown.unkeyed();
        let status = unkeyed.status(&context());
        assert_eq!((status.code(), unkeyed.answered().as_u16()), (Grpc::Unknown, 500));
        assert!(status.get_details_retry_info().is_none());
        assert_eq!(status.get_details_error_info().unwrap().metadata["retryable"], "false");
    }

    #[test]
    fn a_pointer_leads_to_the_same_field_of_the_message() {
        for (pointer, path) in [
            ("", ""),
            ("/order/lines/0/sku", "order.lines[0].sku"),
            ("/lines/0/quantity", "lines.pieces[0].quantity"),
            ("/order/lines/12/unit_price/amount_minor", "order.lines[12].unit_price.minor"),
            ("/order/metadata/a~1b~01", "order.metadata.a/b~1"),
            ("/order/metadata/amount_minor", "order.metadata.amount_minor"),
            ("/order/metadata/7", "order.metadata.7"),
        ] {
            assert_eq!(field(&FieldError::at(pointer, "text", "is wrong")), path);
        }
        assert_eq!(field(&FieldError::parameter("etag", "is wrong")), "etag");
        let missing = Problem::key_missing();
        assert_eq!(missing.errors().iter().map(field).collect::<Vec<_>>(), ["idempotency_key"]);
    }

    #[test]
    fn what_is_told_of_fields_has_an_end() {
        let error = |at| FieldError::at(format!("/order/lines/{at}/sku"), "text", "is too long");
        let facts = Facts::Errors((0..500).map(error).collect());
        let problem = Problem { facts, ..Problem::new(Code::Invalid, "The request is wrong.") };
        let status = problem.status(&context());
        let told = status.get_details_bad_request().unwrap().field_violations;
        assert!((50..500).contains(&told.len()), "{}", told.len());
        assert!(told.iter().all(|violation| violation.reason == "TEXT"), "{told:?}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["errors"], "500");
        assert!(status.details().len() < 8192, "{}", status.details().len());
    }

    #[test]
    fn a_problem_survives_as_the_source_of_a_status() {
        let status = Status::from(Problem::new(Code::VersionMismatch, "It moved."));
        assert_eq!(status.code(), Grpc::Aborted);
        assert_eq!(Problem::of(&status).code, Code::VersionMismatch);
        let misread = Problem::of(&Status::internal("no message"));
        assert_eq!((misread.code, misread.detail.as_str()), (Code::Malformed, "No message."));
    }

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(name(Grpc::FailedPrecondition), "FAILED_PRECONDITION");
        assert_eq!(name(Grpc::Aborted), "ABORTED");
    }
}
