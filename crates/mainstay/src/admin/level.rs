//! The level of logs: read, and changed until the next start.

use super::asking::Asking;
use crate::chain::chain;
use axum::{
    Form, Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::StatusCode;
use serde::Deserialize;
use std::{error::Error, sync::Arc};

type Get = Arc<dyn Fn() -> String + Send + Sync>;
type Set = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// How to read and change it.
#[derive(Clone)]
pub(super) struct LogLevel {
    get: Get,
    set: Set,
    asking: Asking,
}

/// What the form on the page sends.
#[derive(Deserialize)]
struct Wanted {
    level: String,
}

impl LogLevel {
    pub(super) fn new<E: Into<Box<dyn Error>>>(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let set = move |level: &str| set(level).map_err(|error| chain(&*error.into()));
        Self { get: Arc::new(get), set: Arc::new(set), asking: Asking::new() }
    }

    /// What it is, if that is told in time.
    pub(super) async fn read(&self) -> Option<String> {
        let get = Arc::clone(&self.get);
        self.asking.ask(move || get()).await
    }

    /// `GET` and `PUT` for tools; `POST` for a form, which can do nothing else.
    pub(super) fn routes(self) -> Router {
        let (read, put, post) = (self.clone(), self.clone(), self);
        let routes = get(async move || told(read.read().await.map(Ok)))
            .put(async move |level: String| told(put.change(level).await))
            .post(async move |Form(wanted): Form<Wanted>| {
                let changed = post.change(wanted.level).await;
                if let Some(Ok(_)) = changed {
                    Redirect::to("/").into_response()
                } else {
                    told(changed)
                }
            });
        Router::new().route("/log-level", routes)
    }

    /// Changes it, and tells what it is now, if that is told in time.
    async fn change(&self, wanted: String) -> Option<Result<String, String>> {
        let level = self.clone();
        self.asking.ask(move || level.change_now(&wanted)).await
    }

    fn change_now(&self, wanted: &str) -> Result<String, String> {
        (self.set)(wanted.trim())?;
        let level = (self.get)();
        tracing::info!(level, "log level changed by the admin listener");
        Ok(level)
    }
}

fn told(answer: Option<Result<String, String>>) -> Response {
    let (status, text) = match answer {
        Some(Ok(level)) => (StatusCode::OK, level),
        Some(Err(why)) => (StatusCode::BAD_REQUEST, why),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no answer within 1 s".to_owned()),
    };
    (status, text + "\n").into_response()
}
