//! The page for people: one answer without anything from elsewhere, and complete without scripts.

use super::{Admin, accept, status::Status};
use crate::config::duration;
use axum::{
    Json,
    response::{Html, IntoResponse, Response},
};
use http::{HeaderMap, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use std::time::Duration;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl Admin {
    /// The page, or JSON for who accepts that and no page.
    pub(super) async fn answer(&self, headers: &HeaderMap) -> Response {
        let status = self.status().await;
        let accepts = |kind| accept(headers).is_some_and(|accept| accept.contains(kind));
        if accepts("application/json") && !accepts("text/html") {
            return Json(status.json()).into_response();
        }
        // Lets the one script and the one style of this very answer run, and nothing else.
        let nonce = getrandom::u64().map(|nonce| format!("{nonce:016x}")).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        let headers = [
            (header::CONTENT_SECURITY_POLICY, policy.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Not no-referrer, under which browsers send a form's origin as null.
            (header::REFERRER_POLICY, "same-origin"),
        ];
        (headers, Html(page(&status, &nonce).into_string())).into_response()
    }
}

fn page(status: &Status, nonce: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (status.name) " – " (status.phase) }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (status.name) }
                    p.build { @for (fact, value) in &status.build { (fact) " " b { (value) } " " } }
                    p.refresh role="status" { a href="/" { "Reload" } }
                }
                main {
                    div #live { (live(status)) }
                    (settings(status))
                }
                footer {
                    a href="/status" { "This page as JSON" } " · " a href="/metrics" { "Metrics" }
                    " · " a href="/readyz" { "Readiness" }
                }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// What changes by itself, and is shown anew every few seconds.
fn live(status: &Status) -> Markup {
    html! {
        section aria-labelledby="health" {
            h2 #health { "Health" }
            @if status.reasons.is_empty() {
                p { span.pill.good { "ready" } }
            } @else {
                p { span.pill.bad { "not ready" } }
                ul { @for reason in &status.reasons { li { (reason) } } }
            }
            dl {
                dt { "Phase" } dd { (status.phase) " for " (rough(status.phase_age)) }
                dt { "Up for" } dd { (rough(status.uptime)) }
            }
        }
        @for (name, value) in &status.sections {
            @let title = name.replace('_', " ");
            section aria-label=(title) {
                h2 { (title) @if let Some(list) = value.as_array() { " (" (list.len()) ")" } }
                (any(value))
            }
        }
    }
}

/// What a person may want to change or copy, and is left alone.
fn settings(status: &Status) -> Markup {
    html! {
        @if let Some(level) = &status.log_level {
            section aria-labelledby="log-level" {
                h2 #log-level { "Log level" }
                form method="post" action="/log-level" {
                    label for="level" { "Until the next start, such as " code { "info,orders=debug" } }
                    input #level name="level" value=(level) required spellcheck="false"
                        autocomplete="off" autocapitalize="off";
                    button { "Change" }
                }
            }
        }
        @if let Some(config) = &status.config {
            section aria-labelledby="config" {
                h2 #config { "Configuration" }
                details {
                    summary { "Every value and where it came from" }
                    pre tabindex="0" { code { (config) } }
                }
            }
        }
    }
}

/// Any value of a section.
fn any(value: &Value) -> Markup {
    match value {
        Value::Object(fields) if fields.is_empty() => none(),
        Value::Array(items) if items.is_empty() => none(),
        Value::Object(fields) => html! {
            dl { @for (key, value) in fields { dt { (key) } dd { (any(value)) } } }
        },
        Value::Array(items) => list(items),
        Value::Null => none(),
        Value::String(text) => html! { (text) },
        Value::Bool(_) | Value::Number(_) => html! { (value.to_string()) },
    }
}

fn none() -> Markup {
    html! { span.none { "none" } }
}

/// A table with a row for each item, where they are objects.
fn list(items: &[Value]) -> Markup {
    let Some(columns) = items.first().and_then(Value::as_object) else {
        return html! { ul { @for item in items { li { (any(item)) } } } };
    };
    html! {
        div.wide tabindex="0" {
            table {
                thead { tr { @for key in columns.keys() { th scope="col" { (key) } } } }
                tbody {
                    @for item in items {
                        tr { @for key in columns.keys() { td { (any(&item[key])) } } }
                    }
                }
            }
        }
    }
}

/// A duration as far as a person wants to know it.
fn rough(duration: Duration) -> String {
    duration::format(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_shown_cannot_be_markup() {
        let told = json!({ "<b>": ["<script>alert(1)</script>", { "a\"": "<i>" }] });
        let shown = any(&told).into_string();
        assert!(!shown.contains("<script>") && !shown.contains("<b>"), "{shown}");
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
    }

    #[test]
    fn objects_in_a_list_are_a_table() {
        let told = json!([{ "id": "r-1", "age_ms": 7 }, { "id": "r-2", "age_ms": null }]);
        let shown = any(&told).into_string();
        for cell in ["<th scope=\"col\">id</th>", "<td>r-1</td>", "<td>7</td>", "<td>r-2</td>"] {
            assert!(shown.contains(cell), "{cell}: {shown}");
        }
    }
}
