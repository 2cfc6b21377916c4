//! What a principal may do: the one table of operations and the scope that opens each.
//!
//! Nothing is open by default: an operation that has no row here is refused to everybody.

use std::sync::Arc;

use axum::extract::MatchedPath;
use http::{Method, request::Parts};
use mainstay_context::{Context, Principal};
use serde::{Deserialize, Serialize};

use self::Scope::{EventsRead, OrdersRead, OrdersWrite, PaymentsResolve, PaymentsWrite};
use crate::problem::{Code, Problem};

/// A part of the API that can be opened by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Read orders and their history.
    #[serde(rename = "orders:read")]
    OrdersRead,
    /// Place and change orders, but not pay for them.
    #[serde(rename = "orders:write")]
    OrdersWrite,
    /// Move an order's money: pay, capture, refund, record.
    #[serde(rename = "payments:write")]
    PaymentsWrite,
    /// Say what became of a payment that nobody could find out.
    #[serde(rename = "payments:resolve")]
    PaymentsResolve,
    /// Read the feed of everything that happened.
    #[serde(rename = "events:read")]
    EventsRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::PaymentsWrite,
        Self::PaymentsResolve,
        Self::EventsRead,
    ];

    /// Its name in key files and tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::PaymentsWrite => "payments:write",
            Self::PaymentsResolve => "payments:resolve",
            Self::EventsRead => "events:read",
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// The names of these scopes, each once, as a principal has them.
pub(super) fn names(scopes: impl IntoIterator<Item = Scope>) -> Arc<[&'static str]> {
    let mut names: Vec<_> = scopes.into_iter().map(Scope::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.into()
}

/// An operation: how it is asked for over both protocols, and what opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What opens it.
    pub scope: Scope,
    /// Its method over HTTP.
    pub method: &'static str,
    /// Its path over HTTP; `{id}` is the order.
    pub route: &'static str,
    /// Its call in the contract of gRPC, which is also what it is called in a refusal.
    pub call: &'static str,
}

const fn operation(
    scope: Scope,
    method: &'static str,
    route: &'static str,
    call: &'static str,
) -> Operation {
    Operation { scope, method, route, call }
}

/// What comes before the name of a call in its path.
const SERVICE: &str = "/orders.v1.OrderService/";

/// Every operation of both protocols.
pub const OPERATIONS: &[Operation] = &[
    operation(OrdersWrite, "POST", "/v1/orders", "CreateOrder"),
    operation(OrdersWrite, "POST", "/v1/orders/batch", "BatchCreateOrders"),
    operation(OrdersRead, "GET", "/v1/orders/{id}", "GetOrder"),
    operation(OrdersRead, "GET", "/v1/orders", "ListOrders"),
    operation(OrdersRead, "GET", "/v1/orders/{id}/history", "ListHistory"),
    operation(OrdersWrite, "POST", "/v1/orders/{id}/confirm", "ConfirmOrder"),
    operation(OrdersWrite, "POST", "/v1/orders/{id}/cancel", "CancelOrder"),
    operation(OrdersWrite, "POST", "/v1/orders/{id}/fulfillments", "CreateFulfillment"),
    operation(OrdersWrite, "POST", "/v1/orders/{id}/return", "ReturnOrder"),
    operation(OrdersWrite, "POST", "/v1/orders/{id}/notes", "AddNote"),
    operation(PaymentsWrite, "POST", "/v1/orders/{id}/pay", "PayOrder"),
    operation(PaymentsWrite, "POST", "/v1/orders/{id}/capture", "CaptureOrder"),
    operation(PaymentsWrite, "POST", "/v1/orders/{id}/refund", "RefundOrder"),
    operation(PaymentsWrite, "POST", "/v1/orders/{id}/payments", "RecordPayment"),
    operation(PaymentsResolve, "POST", "/v1/orders/{id}/resolve", "ResolvePayment"),
    operation(EventsRead, "GET", "/v1/events", "WatchEvents"),
];

impl Operation {
    /// Whether this route is its own, over either protocol.
    fn is_at(&self, route: &str) -> bool {
        route == self.route || route.strip_prefix(SERVICE) == Some(self.call)
    }

    fn is_asked_by(&self, method: &Method, route: &str) -> bool {
        // What answers GET answers HEAD.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let by = if route == self.route { self.method } else { "POST" };
        self.is_at(route) && method == by
    }
}

/// Refuses what this principal may not do.
pub(crate) fn authorize(principal: &Principal, head: &Parts) -> Result<(), Problem> {
    let route = head.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    allow(principal, &head.method, route)
}

fn allow(principal: &Principal, method: &Method, route: &str) -> Result<(), Problem> {
    match OPERATIONS.iter().find(|one| one.is_asked_by(method, route)) {
        Some(one) if principal.may(one.scope.as_str()) => Ok(()),
        Some(one) => Err(Problem::denied(principal, one.call, one.scope.as_str())),
        None if OPERATIONS.iter().any(|one| one.is_at(route)) => {
            Err(Problem::new(Code::MethodNotAllowed, "This address does not take this method."))
        }
        None => Err(Problem::denied(principal, "An operation without a row", "that nobody has")),
    }
}

/// Refuses to place an order that is to be paid for whoever may not pay.
pub(crate) fn must_be_let_pay(cx: &Context, is_paid: bool) -> Result<(), Problem> {
    let scope = PaymentsWrite.as_str();
    match cx.principal() {
        Some(principal) if is_paid && !principal.may(scope) => {
            Err(Problem::denied(principal, "CreateOrder with a payment", scope))
        }
        Some(_) | None => Ok(()),
    }
}

/// The table as Markdown, for the docs.
pub fn table() -> String {
    let head = "| operation | HTTP | scope |\n|---|---|---|\n".to_owned();
    OPERATIONS.iter().fold(head, |text, Operation { scope, method, route, call }| {
        format!("{text}| `{call}` | `{method} {route}` | `{}` |\n", scope.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::CALLS;

    fn with(scopes: &[Scope]) -> Principal {
        Principal::new("shop", "till").with_scopes(names(scopes.iter().copied()))
    }

    fn refused(scopes: &[Scope], method: &Method, route: &str) -> Option<Code> {
        allow(&with(scopes), method, route).err().map(|problem| problem.code)
    }

    #[test]
    fn every_call_of_the_contract_has_a_row_and_every_row_a_call() {
        for (path, _) in CALLS {
            let rows = OPERATIONS.iter().filter(|one| one.is_asked_by(&Method::POST, path));
            assert_eq!(rows.count(), 1, "{path}");
        }
        assert_eq!(OPERATIONS.len(), CALLS.len());
    }

    #[test]
    fn an_operation_opens_with_its_scope_alone() {
        for one in OPERATIONS {
            let call = format!("{SERVICE}{}", one.call);
            let method = one.method.parse().unwrap();
            let others: Vec<_> =
                Scope::ALL.into_iter().filter(|scope| *scope != one.scope).collect();
            for (method, route) in [(&method, one.route), (&Method::POST, call.as_str())] {
                assert_eq!(refused(&[one.scope], method, route), None, "{route}");
                let denied = Some(Code::InsufficientScope);
                assert_eq!(refused(&others, method, route), denied, "{route}");
                assert_eq!(refused(&[], method, route), denied, "{route}");
            }
        }
        assert_eq!(refused(&[OrdersRead], &Method::HEAD, "/v1/orders"), None);
    }

    #[test]
    fn what_has_no_row_is_open_to_nobody() {
        for route in ["", "/v1/secrets", "/v1/orders/{id}/erase", "/orders.v1.OrderService/Erase"] {
            let told = refused(&Scope::ALL, &Method::POST, route);
            assert_eq!(told, Some(Code::InsufficientScope), "{route:?}");
        }
        for (method, route) in [
            (Method::DELETE, "/v1/orders"),
            (Method::PUT, "/v1/orders/{id}"),
            (Method::GET, "/orders.v1.OrderService/GetOrder"),
        ] {
            assert_eq!(refused(&Scope::ALL, &method, route), Some(Code::MethodNotAllowed));
        }
    }

    #[test]
    fn a_denial_names_the_scope_that_is_missing() {
        let denied = allow(&with(&[OrdersRead]), &Method::POST, "/v1/orders/{id}/pay");
        assert_eq!(denied.unwrap_err().detail, "PayOrder needs the scope payments:write.");
    }

    #[test]
    fn names_are_those_that_files_and_tokens_have() {
        for scope in Scope::ALL {
            assert_eq!(Scope::named(scope.as_str()), Some(scope));
            let read: Scope = serde_json::from_str(&format!("\"{}\"", scope.as_str())).unwrap();
            assert_eq!(read, scope);
        }
        assert_eq!(Scope::named("orders:*"), None);
        assert_eq!(*names([OrdersWrite, OrdersRead, OrdersWrite]), ["orders:read", "orders:write"]);
    }
}
