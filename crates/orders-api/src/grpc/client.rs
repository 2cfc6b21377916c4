//! A client of the gRPC API, for whoever calls the service from Rust.
//!
//! What is sent again by itself when it fails is said in one place, `calls!`: what reads, and what
//! changes under an `idempotency_key`. A change without a key is made once, also when it has an `etag`:
//! the second try would be told `VERSION_MISMATCH` of what the first one did. The channel decides how
//! often and when; see [`mainstay::client::grpc`].
//!
//! Deliberately absent: keys that are made up here. One that is not kept makes two orders of a crash.

mod error;
mod watch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use mainstay::{
    client::grpc::{BaseUrl, Channel, Config, Safety},
    config::Secret,
};
use mainstay_context::Context;
use tonic::{
    Request, Response,
    metadata::{Ascii, MetadataValue},
};

pub use self::{error::Error, watch::Watched};

use self::watch::Watch;
use super::{
    LARGEST_OUT,
    health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    heard::FRAME,
    pb::{self, order_service_client::OrderServiceClient},
};

/// A client of the service. Clones are the same client.
///
/// It comes as whom the certificate of its channel names, until it is told to show a credential.
#[derive(Clone)]
pub struct OrdersClient {
    calls: OrderServiceClient<Channel>,
    shown: Arc<Mutex<Option<MetadataValue<Ascii>>>>,
}

/// A text is no credential: it has other characters than visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key or a token is visible ASCII characters")]
pub struct InvalidCredential;

/// The configuration of a channel to the service there: answers are as large as it sends them.
pub fn config(base_url: BaseUrl) -> Config {
    Config { reply_limit: FRAME + LARGEST_OUT, ..Config::new(base_url) }
}

/// Whether the service there is healthy, by the standard of gRPC; of all that it does when `service`
/// is empty. It takes no key.
///
/// # Errors
///
/// Fails when there is no answer, and when that service is not known there.
pub async fn health(
    channel: &Channel,
    cx: &Context,
    service: &str,
) -> Result<ServingStatus, Error> {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.extensions_mut().insert(cx.clone());
    request.extensions_mut().insert(Safety::Safe);
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| Error::new(status, Safety::Safe))
}

impl OrdersClient {
    /// A client that calls through `channel`, whose configuration [`config`] makes.
    pub fn new(channel: Channel) -> Self {
        let calls = OrderServiceClient::new(channel).max_decoding_message_size(LARGEST_OUT);
        Self { calls, shown: Arc::default() }
    }

    /// Shows this API key (`ID.SECRET`) or token from the next call on, in the place of the one before. A
    /// call that streams goes on with the one that it began with.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, when the credential cannot be sent.
    pub fn show(&self, credential: &Secret<String>) -> Result<(), InvalidCredential> {
        let text = format!("Bearer {}", credential.expose());
        let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| InvalidCredential)?;
        value.set_sensitive(true);
        *self.shown() = Some(value);
        Ok(())
    }

    /// Places many orders, each by itself: one answer for each, in the same order, while orders are
    /// still sent. A batch that broke off can be sent again under its keys.
    ///
    /// # Errors
    ///
    /// Fails when the batch does not begin. Later on that is the last item of the stream.
    pub async fn batch_create_orders(
        &self,
        cx: &Context,
        orders: impl Stream<Item = pb::BatchCreateOrdersRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<pb::BatchCreateOrdersResponse, Error>>, Error> {
        let failed = |status| Error::new(status, Safety::Once);
        let answers = self.calls.clone().batch_create_orders(self.ask(cx, orders)).await;
        Ok(answers.map_err(failed)?.into_inner().map_err(failed).boxed())
    }

    /// Every event of the tenant after this position, or from the oldest on, in feed order and none
    /// skipped or told twice, and then each as it happens.
    ///
    /// When the service stops or cannot be reached, it goes on by itself at the last position, after a
    /// wait that grows up to 10 s, for as long as `cx` lasts. It ends with the error that another try
    /// would not mend, such as `CURSOR_TOO_OLD`.
    pub fn watch(
        &self,
        cx: &Context,
        after: Option<u64>,
    ) -> BoxStream<'static, Result<Watched, Error>> {
        stream::unfold(Watch::new(self.clone(), cx.clone(), after), Watch::next).boxed()
    }

    /// A call for the request of `cx`, which streams unless it is said what another try of it does.
    fn ask<T>(&self, cx: &Context, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = self.shown().clone() {
            request.metadata_mut().insert("authorization", credential);
        }
        request.extensions_mut().insert(cx.clone());
        request
    }

    fn shown(&self) -> MutexGuard<'_, Option<MetadataValue<Ascii>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OrdersClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrdersClient").finish_non_exhaustive()
    }
}

/// What making a call twice would do.
macro_rules! safety {
    (reads $asked:ident) => {
        Safety::Safe
    };
    (changes $asked:ident) => {
        keyed(&$asked.idempotency_key)
    };
    (creates $asked:ident) => {
        if $asked.validate_only { Safety::Safe } else { keyed(&$asked.idempotency_key) }
    };
}

macro_rules! calls {
    ($($(#[$doc:meta])+ $call:ident($asked:ident) -> $answer:ident: $kind:ident;)+) => {
        impl OrdersClient {
            $($(#[$doc])+
            ///
            /// # Errors
            ///
            /// Fails when the service says no, and when there is no answer.
            pub async fn $call(
                &self,
                cx: &Context,
                asked: pb::$asked,
            ) -> Result<pb::$answer, Error> {
                let safety = safety!($kind asked);
                let mut request = self.ask(cx, asked);
                request.extensions_mut().insert(safety);
                let answer = self.calls.clone().$call(request).await;
                answer.map(Response::into_inner).map_err(|status| Error::new(status, safety))
            })+
        }
    };
}

calls! {
    /// Places an order, or only checks and prices it.
    create_order(CreateOrderRequest) -> CreateOrderResponse: creates;
    /// Reads an order.
    get_order(GetOrderRequest) -> GetOrderResponse: reads;
    /// Lists orders, newest first, a page at a time.
    list_orders(ListOrdersRequest) -> ListOrdersResponse: reads;
    /// Confirms an order.
    confirm_order(ConfirmOrderRequest) -> ConfirmOrderResponse: changes;
    /// Cancels an order, or pieces of it.
    cancel_order(CancelOrderRequest) -> CancelOrderResponse: changes;
    /// Notes that pieces were handed over.
    create_fulfillment(CreateFulfillmentRequest) -> CreateFulfillmentResponse: changes;
    /// Notes that pieces came back.
    return_order(ReturnOrderRequest) -> ReturnOrderResponse: changes;
    /// Adds a remark.
    add_note(AddNoteRequest) -> AddNoteResponse: changes;
    /// Asks for money to be held.
    pay_order(PayOrderRequest) -> PayOrderResponse: changes;
    /// Asks for money to be taken that is held.
    capture_order(CaptureOrderRequest) -> CaptureOrderResponse: changes;
    /// Asks for money to be given back.
    refund_order(RefundOrderRequest) -> RefundOrderResponse: changes;
    /// Records a payment that was made elsewhere.
    record_payment(RecordPaymentRequest) -> RecordPaymentResponse: changes;
    /// Settles a payment operation that waits for a person.
    resolve_payment(ResolvePaymentRequest) -> ResolvePaymentResponse: changes;
    /// Lists what was done to an order, oldest first, a page at a time.
    list_history(ListHistoryRequest) -> ListHistoryResponse: reads;
}

/// What making a change twice would do that has this key, or none.
fn keyed(key: &str) -> Safety {
    if key.is_empty() { Safety::Once } else { Safety::Keyed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_sent_again_under_its_key_only() {
        let of = |key: &str, validate_only| {
            let asked = pb::CreateOrderRequest {
                idempotency_key: key.to_owned(),
                validate_only,
                ..pb::CreateOrderRequest::default()
            };
            safety!(creates asked)
        };
        assert_eq!(of("", false), Safety::Once);
        assert_eq!(of("one-key-for-one", false), Safety::Keyed);
        assert_eq!(of("", true), Safety::Safe);
        let etag = pb::ConfirmOrderRequest {
            etag: "\"1\"".to_owned(),
            ..pb::ConfirmOrderRequest::default()
        };
        assert_eq!(safety!(changes etag), Safety::Once);
    }

    #[test]
    fn a_credential_is_shown_until_another_one_is() {
        let limits = config(BaseUrl::default());
        let channel = Channel::new("orders", &limits, &mainstay::metrics::Metrics::new("test"));
        let client = OrdersClient::new(channel.unwrap());
        let cx = Context::new("test".parse().unwrap());
        let clone = client.clone();
        let sent = || clone.ask(&cx, ()).metadata().get("authorization").cloned();
        assert_eq!(sent(), None);
        for (credential, is_taken, shown) in [
            ("own.secret", true, "Bearer own.secret"),
            ("a\nb", false, "Bearer own.secret"),
            ("a.b.c", true, "Bearer a.b.c"),
        ] {
            let result = client.show(&Secret::new(credential.to_owned()));
            assert_eq!(result.is_ok(), is_taken, "{credential:?}");
            let sent = sent().unwrap();
            assert!(sent == shown && sent.is_sensitive(), "{credential:?}");
        }
    }
}
