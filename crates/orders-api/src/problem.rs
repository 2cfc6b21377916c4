//! Everything that can go wrong, in one table: what the client sees and what it can do.
//!
//! [`Code`] is the table. A [`Problem`] is one occurrence; [`Body`] is how it reads on the wire
//! (RFC 9457); over gRPC it is a `google.rpc.Status`. The mapping from the core's errors is a full
//! match, so that a new error does not compile until it has a row here; so is that from the failures
//! of the chassis.

mod body;
mod chassis;
mod from;
mod sampled;
mod status;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use mainstay_context::Principal;
use mainstay_resilience::rate_limit::Refused;
use orders::{
    Violation,
    domain::{Money, OrderId, Position, State, Totals, Version},
};

pub(crate) use body::Told;
pub use body::{Body, FieldError};
pub use chassis::{chassis_failure, may_shed, shed};
pub(crate) use from::{calls, verbs};

macro_rules! codes {
    ($($variant:ident $code:literal $status:ident $grpc:ident $title:literal, $then:literal;)+) => {
        /// What kind of problem, for programs. Stable: a code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status it is answered with, but for what has [no key](Problem::unkeyed).
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The gRPC code it is answered with.
            pub const fn grpc(self) -> tonic::Code {
                match self { $(Self::$variant => tonic::Code::$grpc,)+ }
            }

            /// What it is, in a few words that are the same every time.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What the client does about it.
            pub const fn then(self) -> &'static str {
                match self { $(Self::$variant => $then,)+ }
            }
        }
    };
}

codes! {
    Malformed "malformed" BAD_REQUEST InvalidArgument "The request cannot be read",
        "Mend the request; `errors` says where.";
    KeyMissing "idempotency-key-missing" BAD_REQUEST InvalidArgument
        "An Idempotency-Key is required",
        "Draw a random key, keep it, and send it with every try of this request.";
    InvalidPageToken "invalid-page-token" BAD_REQUEST InvalidArgument "The page token does not fit",
        "List again from the first page, with the same filters on every page.";
    InvalidTimeout "invalid-timeout" BAD_REQUEST InvalidArgument
        "The time for the request cannot be read",
        "Send the header that the detail names once and in the form it tells, such as `X-Request-Timeout-Ms` in whole milliseconds, or not at all.";
    Unauthenticated "unauthenticated" UNAUTHORIZED Unauthenticated "Authentication is required",
        "Send `Authorization: Bearer ID.SECRET` with a valid key, or a valid token in its place.";
    WebhookUnsigned "webhook-unsigned" UNAUTHORIZED Unauthenticated
        "The signature of the webhook does not hold",
        "Sign each try anew, over the raw body, with a secret of `gateway.webhook_secret_file`.";
    InsufficientScope "insufficient-scope" FORBIDDEN PermissionDenied
        "The key or token does not open this operation",
        "Ask the operator for one with the scope that the detail names; `docs/IDENTITIES.md` has all of them.";
    NotFound "not-found" NOT_FOUND NotFound "There is no such thing",
        "Check the address. What belongs to another tenant does not exist for you.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED Unimplemented
        "The method is not allowed here",
        "Use one of the methods in `Allow`.";
    IllegalTransition "illegal-transition" CONFLICT FailedPrecondition
        "The order cannot do that now",
        "Read the order; `allowed_transitions` says what it can do.";
    NotesFull "notes-full" CONFLICT FailedPrecondition "The order has all the notes it may have",
        "Keep the remark elsewhere.";
    ExternalReferenceTaken "external-reference-taken" CONFLICT AlreadyExists
        "Another order has this external reference",
        "Look at that order under `order`; use another reference for a new one.";
    PaymentInProgress "payment-in-progress" CONFLICT FailedPrecondition
        "A payment of the order is under way",
        "Wait until `payment_state` is no longer `PENDING` or `UNKNOWN`; then pay what is `due`. `PARKED` waits for an operator: see `resolve`.";
    PaymentInDoubt "payment-in-doubt" CONFLICT FailedPrecondition
        "It is not known yet what became of an operation on this payment",
        "Wait until `payment_state` is no longer `UNKNOWN`. `PARKED` waits for an operator: see `resolve`.";
    AmountNotLeft "amount-not-left" CONFLICT FailedPrecondition
        "The amount is more than is left, or nothing",
        "Read the order: `due` is to be paid, `authorized` to be captured, `captured` to be refunded. Ask for at most what is left.";
    NoSuchPayment "no-such-payment" CONFLICT FailedPrecondition "The order has no such payment",
        "Name one of the order's payments or operations by its `id`.";
    TooManyPayments "too-many-payments" CONFLICT FailedPrecondition
        "The order has as many payments or attempts as it may have",
        "Place another order for what is left.";
    NotParked "not-parked" CONFLICT FailedPrecondition "The operation does not wait for a person",
        "Read the order: only an operation whose `state` is `PARKED` can be resolved by hand.";
    MovedElsewhere "moved-elsewhere" CONFLICT FailedPrecondition
        "The gateway has no part in this payment",
        "Move the money by hand, then say that it `succeeded`.";
    HandedOver "handed-over" CONFLICT FailedPrecondition "Pieces of the order were handed over",
        "Cancel the pieces that were not, by `lines`; take the others back with `return` and `refund`.";
    NoSuchLine "no-such-line" CONFLICT FailedPrecondition "The order has no such line",
        "Read the order, and name lines by their `line_no`.";
    PiecesNotLeft "pieces-not-left" CONFLICT FailedPrecondition
        "A line has fewer pieces left for that",
        "Read the order, and name at most what is left.";
    WebhookMisfit "webhook-misfit" CONFLICT FailedPrecondition
        "The gateway tells of something that was not asked for",
        "Nothing changed. Find out what was asked for under this reference, and tell of that.";
    KeyExpired "idempotency-key-expired" CONFLICT AlreadyExists
        "The Idempotency-Key made an order long ago",
        "Look at that order under `order`; use a new key for a new one.";
    Contended "contended" CONFLICT Aborted
        "Others kept changing the order", "Send the request again.";
    CursorTooOld "cursor-too-old" GONE OutOfRange
        "The events after this position are no longer kept",
        "Start again from `oldest_position`, and rebuild what was missed by reading orders.";
    VersionMismatch "version-mismatch" PRECONDITION_FAILED Aborted
        "The order is at another version",
        "Read the order, decide again, and send its new `ETag`.";
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE ResourceExhausted
        "The request's body is too large",
        "Send less at a time.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE InvalidArgument
        "The body is not of a type that can be read",
        "Send the `Content-Type` that the operation takes.";
    UnsupportedEncoding "unsupported-encoding" UNSUPPORTED_MEDIA_TYPE Unimplemented
        "The message is compressed in a way that is not read here",
        "Send it as it is, without compression.";
    Invalid "invalid" UNPROCESSABLE_ENTITY InvalidArgument "The request breaks rules",
        "Mend what `errors` lists. The list holds every field; sums are checked once those are right.";
    TotalMismatch "total-mismatch" UNPROCESSABLE_ENTITY InvalidArgument
        "The total is not the expected one",
        "Compare `expected_total` with `computed_totals`, and find out who is wrong.";
    KeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY InvalidArgument
        "The Idempotency-Key was used for another request",
        "Use a new key for a new request, and the same body for every try.";
    RateLimited "rate-limited" TOO_MANY_REQUESTS ResourceExhausted
        "More was asked than a limit allows",
        "Send the request again after `Retry-After`. `RateLimit` tells what is left, `RateLimit-Policy` how much there is.";
    Internal "internal" INTERNAL_SERVER_ERROR Internal
        "The service failed in a way that was not foreseen",
        "It may have taken effect. Tell the operator the `request_id`.";
    NoGateway "no-gateway" NOT_IMPLEMENTED Unimplemented "There is no payment gateway",
        "Set `gateway.client.base_url`, or record payments that are made elsewhere.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE Unavailable
        "There is more to do than can be done in time",
        "Nothing was done. Send the request again after `Retry-After`.";
    StoreBusy "store-busy" SERVICE_UNAVAILABLE Unavailable "Too many changes wait already",
        "Nothing was written. Send the request again after `Retry-After`.";
    StoreUnavailable "store-unavailable" SERVICE_UNAVAILABLE Unavailable
        "The order store is unavailable",
        "Nothing was written. Send the request again after `Retry-After`.";
    TokenKeysUnavailable "token-keys-unavailable" SERVICE_UNAVAILABLE Unavailable
        "Tokens cannot be checked yet",
        "The token may be good: keep it, and send the request again after `Retry-After`.";
    OutcomeUnknown "outcome-unknown" SERVICE_UNAVAILABLE Unavailable
        "It is not known whether the change was written",
        "Send the same request with the same Idempotency-Key; it never takes effect twice.";
    Draining "draining" SERVICE_UNAVAILABLE Unavailable "The service stops",
        "What was answered stands. Send the same again, over a new connection.";
    DeadlineExceeded "deadline-exceeded" GATEWAY_TIMEOUT DeadlineExceeded
        "The time for the request is spent",
        "It may have taken effect. Send it again with the same Idempotency-Key, and with more time.";
    HttpVersion "http-version" HTTP_VERSION_NOT_SUPPORTED Unimplemented
        "Calls of gRPC come over HTTP/2",
        "Call over HTTP/2, through proxies too, or use the HTTP API.";
    StoreFull "store-full" INSUFFICIENT_STORAGE ResourceExhausted
        "The order store has no room left",
        "Nothing was written. Tell the operator; send the request again later.";
}

impl Code {
    /// Whether the same request can succeed later without being changed.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Contended
            | Self::Overloaded
            | Self::RateLimited
            | Self::StoreBusy
            | Self::StoreUnavailable
            | Self::TokenKeysUnavailable
            | Self::OutcomeUnknown
            | Self::Draining
            | Self::DeadlineExceeded
            | Self::StoreFull => true,
            Self::Malformed
            | Self::KeyMissing
            | Self::InvalidPageToken
            | Self::InvalidTimeout
            | Self::Unauthenticated
            | Self::WebhookUnsigned
            | Self::WebhookMisfit
            | Self::InsufficientScope
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::IllegalTransition
            | Self::NotesFull
            | Self::ExternalReferenceTaken
            | Self::PaymentInProgress
            | Self::PaymentInDoubt
            | Self::AmountNotLeft
            | Self::NoSuchPayment
            | Self::TooManyPayments
            | Self::NotParked
            | Self::MovedElsewhere
            | Self::HandedOver
            | Self::NoSuchLine
            | Self::PiecesNotLeft
            | Self::KeyExpired
            | Self::CursorTooOld
            | Self::VersionMismatch
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::UnsupportedEncoding
            | Self::Invalid
            | Self::TotalMismatch
            | Self::KeyReused
            | Self::NoGateway
            | Self::HttpVersion
            | Self::Internal => false,
        }
    }

    /// The stable URI that names this kind of problem.
    pub fn uri(self) -> String {
        format!("https://orderly.dev/problems/{}", self.as_str())
    }
}

/// What a request's key is called over HTTP.
const KEY: &str = "Idempotency-Key";

/// One thing that went wrong in one request. Clones share the cause.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What happened this time, for people.
    pub detail: String,
    facts: Facts,
    replayed: bool,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What a client needs to know to act on a problem.
#[derive(Clone, Debug, Default)]
enum Facts {
    #[default]
    None,
    Errors(Vec<FieldError>),
    State(State),
    Version(Version),
    Order(OrderId),
    Oldest(Position),
    Totals(Money, Box<Totals>),
    /// The limit of this name, and when there is room again.
    Limit(&'static str, Duration),
    /// It may have taken effect, and there is no key to make one request of two tries.
    Unkeyed,
    /// When it can be sent again.
    After(Duration),
    /// The address is none of ours, whoever asks.
    NoAddress,
    Denied(Box<Denied>),
}

/// Who may not do what, and for want of which scope.
#[derive(Clone, Debug)]
struct Denied {
    principal: Principal,
    operation: &'static str,
    scope: &'static str,
}

impl Problem {
    /// A problem with nothing more to say than this.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), facts: Facts::None, replayed: false, cause: None }
    }

    /// The same problem of something that stands at this place in a larger body.
    #[must_use]
    pub fn under(mut self, place: &str) -> Self {
        if let Facts::Errors(errors) = &mut self.facts {
            for pointer in errors.iter_mut().filter_map(|error| error.pointer.as_mut()) {
                pointer.insert_str(0, place);
            }
        }
        self
    }

    /// The same problem of a change that has no key: what may have taken effect is not tried again.
    #[must_use]
    pub fn unkeyed(mut self) -> Self {
        if matches!(self.code, Code::OutcomeUnknown | Code::DeadlineExceeded) {
            self.facts = Facts::Unkeyed;
        }
        self
    }

    /// The HTTP status that it is answered with: that of its code, but for a change without a key that may
    /// have been made. Meshes and proxies look at the status alone, and many try a 503 again.
    pub const fn answered(&self) -> StatusCode {
        match (&self.facts, self.code) {
            (Facts::Unkeyed, Code::OutcomeUnknown) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => self.code.status(),
        }
    }

    /// Whether the same request can succeed later, and does not take effect twice.
    pub const fn retryable(&self) -> bool {
        self.code.retryable() && !matches!(self.facts, Facts::Unkeyed)
    }

    /// How long to wait before the next try, where it makes sense to say so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Facts::After(time) | Facts::Limit(_, time) = self.facts {
            return Some(time);
        }
        self.code.retry_after().filter(|_| self.retryable())
    }

    /// What the client does about it.
    pub const fn then(&self) -> &'static str {
        match self.facts {
            Facts::Unkeyed => {
                "It may have taken effect. Read the order before you decide whether to send it again."
            }
            Facts::NoAddress => "Check the address; `/docs` shows those there are.",
            Facts::None
            | Facts::Errors(_)
            | Facts::State(_)
            | Facts::Version(_)
            | Facts::Order(_)
            | Facts::Oldest(_)
            | Facts::Denied(_)
            | Facts::Limit(..)
            | Facts::Totals(..)
            | Facts::After(_) => self.code.then(),
        }
    }

    /// Everything that is wrong with the request, one by one.
    pub fn errors(&self) -> &[FieldError] {
        if let Facts::Errors(errors) = &self.facts { errors } else { &[] }
    }

    /// An address at which there is nothing for anybody.
    pub(crate) fn no_address(detail: impl Into<String>) -> Self {
        Self { facts: Facts::NoAddress, ..Self::new(Code::NotFound, detail) }
    }

    /// An operation that this principal may not carry out for want of this scope.
    pub(crate) fn denied(
        principal: &Principal,
        operation: &'static str,
        scope: &'static str,
    ) -> Self {
        let detail = format!("{operation} needs the scope {scope}.");
        let denied = Denied { principal: principal.clone(), operation, scope };
        let facts = Facts::Denied(Box::new(denied));
        Self { facts, ..Self::new(Code::InsufficientScope, detail) }
    }

    /// A request that cannot be read, because of this place in it.
    pub fn malformed(error: FieldError) -> Self {
        let detail = error.sentence();
        Self { facts: Facts::Errors(vec![error]), ..Self::new(Code::Malformed, detail) }
    }

    /// A request that cannot be read, because of this parameter, header or field of a message.
    pub(crate) fn unreadable(name: &str, detail: impl Into<String>) -> Self {
        Self::malformed(FieldError::parameter(name, detail))
    }

    /// A request that is one too many under the limit of this name.
    pub(crate) fn limited(limit: &'static str, refused: Refused) -> Self {
        let after = refused.retry_after.unwrap_or_default();
        let detail = format!("More was asked than the limit `{limit}` allows.");
        Self { facts: Facts::Limit(limit, after), ..Self::new(Code::RateLimited, detail) }
    }

    /// A request without the key that it needs.
    pub(crate) fn key_missing() -> Self {
        Self::without_key(FieldError::parameter(KEY, "must be there"))
    }

    /// A line without the key that it needs, where there is none for all of them.
    pub(crate) fn line_key_missing() -> Self {
        Self::without_key(FieldError::at("/idempotency_key", "shape", "must be there"))
    }

    fn without_key(error: FieldError) -> Self {
        let detail = "This request needs an idempotency key, so that it can be sent again safely.";
        Self { facts: Facts::Errors(vec![error]), ..Self::new(Code::KeyMissing, detail) }
    }

    /// A request that breaks these rules.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        orders::Error::Invalid(violations).into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl StdError for Problem {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// The table as Markdown, for the docs.
///
/// What a table of codes cannot say, such as that retrying needs a key, is said below it.
pub fn table() -> String {
    let head = "| code | HTTP | gRPC | what it is | what to do | retryable |\n\
                |---|---|---|---|---|---|\n";
    let table = Code::ALL.iter().fold(head.to_owned(), |text, code| {
        let (name, status) = (code.as_str(), code.status().as_u16());
        let grpc = status::name(code.grpc());
        let retryable = if code.retryable() { "yes" } else { "no" };
        format!(
            "{text}| `{name}` | {status} | {grpc} | {} | {} | {retryable} |\n",
            code.title(),
            code.then()
        )
    });
    format!("{table}\n{NOTES}")
}

const NOTES: &str = "\
A change that was sent without an Idempotency-Key is not retryable after `outcome-unknown` or `deadline-exceeded`: it may have
taken effect, and a second one would be another change. Read the order first. Its `outcome-unknown` is 500, and UNKNOWN over
gRPC, since meshes try a 503 or UNAVAILABLE again.

A request that brings no deadline ends after 2 s, and none takes more than 10 s (`http.default_deadline`,
`http.largest_deadline`); then it is `deadline-exceeded`. Over gRPC the deadline is the `grpc-timeout`, and `not-found` is
UNIMPLEMENTED where there is no such call.

Of several faults in one request both protocols tell the same one first.
";
