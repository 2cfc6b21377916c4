//! The page for people: the latest payments and the faults in force, without scripts.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{Html, IntoResponse, Response},
};
use http::header;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{export, problem::Problem};
use crate::{
    faults::{Fault, Faults},
    gateway::Gateway,
    ledger::{Ledger, Payment, Query, Recorded, Summary},
    operation::Status,
};

const STYLE: &str = include_str!("page.css");

/// How many payments it shows.
const LATEST: u32 = 50;

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let read = |ledger: &Ledger| Ok((ledger.summary()?, ledger.payments(Query::Latest(LATEST))?));
    let (summary, latest) = gateway.with_ledger(read).await?;
    let page = page(&summary, &latest.payments, gateway.faults());
    let nonce = getrandom::u64().map(|nonce| format!("{nonce:016x}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Html(around(&page, &nonce).into_string())).into_response())
}

fn around(page: &Markup, nonce: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "gateway-sim" }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "gateway-sim" }
                    p { "What the payment provider really did" }
                    p.refresh {
                        a href="/" { "Reload" } " · " a href=(export::PATH) { "Ledger as CSV" }
                    }
                }
                main { (page) }
            }
        }
    }
}

fn page(summary: &Summary, payments: &[Payment], faults: &Faults) -> Markup {
    html! {
        (numbers(summary))
        (in_force(faults))
        section aria-labelledby="payments" {
            h2 #payments { "Latest payments" }
            @if payments.is_empty() { (none()) }
            @for payment in payments { (one(payment)) }
        }
    }
}

fn numbers(summary: &Summary) -> Markup {
    let counts = summary.successful;
    html! {
        section aria-labelledby="numbers" {
            h2 #numbers { "In numbers" }
            @if summary.references_doubled > 0 {
                p { span.pill.bad { (summary.references_doubled) " effects were doubled" } }
            } @else {
                p { span.pill.good { "no effect was doubled" } }
            }
            dl {
                dt { "Payments" } dd { (summary.payments) }
                dt { "Operations" } dd { (summary.operations) }
                dt { "Took effect" } dd {
                    (counts.authorization) " authorizations, " (counts.capture) " captures, "
                    (counts.void) " voids, " (counts.refund) " refunds"
                }
                dt { "Events to deliver" } dd { (summary.webhooks_left) }
            }
        }
    }
}

fn in_force(faults: &Faults) -> Markup {
    let (plan, counts) = (faults.plan(), faults.counts());
    let planned = |fault: Fault| {
        let next = plan.next.iter().filter(|next| next.faults.contains(&fault));
        next.map(|next| u64::from(next.count)).sum::<u64>()
    };
    let rows: Vec<_> = Fault::ALL
        .into_iter()
        .map(|fault| {
            let struck = counts.get(&fault).copied().unwrap_or_default();
            (fault, plan.rates.get(&fault).copied().unwrap_or_default(), planned(fault), struck)
        })
        .filter(|(_, rate, next, struck)| *rate > 0.0 || *next > 0 || *struck > 0)
        .collect();
    html! {
        section aria-labelledby="faults" {
            h2 #faults { "Faults" }
            @match plan.down {
                Some(down) => p { span.pill.bad { "down: " (format!("{:?}", down.mode).to_lowercase()) } },
                None => p { span.pill.good { "up" } },
            }
            @if rows.is_empty() { (none()) } @else {
                div.wide tabindex="0" {
                    table {
                        thead { tr {
                            th scope="col" { "fault" } th scope="col" { "what" }
                            th scope="col" { "rate" } th scope="col" { "next" }
                            th scope="col" { "struck" }
                        } }
                        tbody {
                            @for (fault, rate, next, struck) in rows {
                                tr {
                                    td { code { (fault.as_str()) } } td { (fault.what()) }
                                    td { (rate) } td { (next) } td { (struck) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn one(payment: &Payment) -> Markup {
    let totals = payment.totals;
    html! {
        article {
            h3 { code { (payment.payment) } }
            p {
                "authorized " b { (totals.authorized) } " · captured " b { (totals.captured) }
                " · voided " b { (totals.voided) } " · refunded " b { (totals.refunded) }
                @if payment.successful.authorization > 1 {
                    " " span.pill.bad { (payment.successful.authorization) " authorizations" }
                }
            }
            div.wide tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "at" } th scope="col" { "kind" } th scope="col" { "amount" }
                        th scope="col" { "outcome" } th scope="col" { "reference" }
                        th scope="col" { "event" }
                    } }
                    tbody { @for recorded in &payment.operations { (row(recorded)) } }
                }
            }
        }
    }
}

fn row(recorded: &Recorded) -> Markup {
    let operation = &recorded.operation;
    let well = operation.status == Status::Succeeded;
    html! {
        tr {
            td { (operation.created_at) }
            td { (operation.kind.as_str()) }
            td { (operation.amount) }
            td {
                span.pill.good[well].bad[!well] {
                    (operation.decline_code.map_or(operation.status.as_str(), |code| code.as_str()))
                }
            }
            td { code { (operation.reference) } }
            td {
                @match &recorded.webhook {
                    Some(webhook) => { (webhook.deliveries) " delivered, " (webhook.left) " left" }
                    None => (none()),
                }
            }
        }
    }
}

fn none() -> Markup {
    html! { span.none { "none" } }
}
