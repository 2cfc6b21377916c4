//! `/openapi.json`, and a page at `/docs` to read and call it. All assets are in the binary.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use http::{StatusCode, header};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, serve};

use super::openapi;
use crate::{gate, problem::Problem};

/// Nothing comes from, or goes, anywhere else. Swagger UI sets inline styles and data images.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// The routes of the document and its page; open to all.
pub(super) fn router(document: &OpenApi) -> Router {
    let json = Bytes::from(document.to_json().unwrap_or_default());
    let json = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
    Router::new()
        .route("/openapi.json", get(json))
        // Not for ever: something else may stand there one day.
        .route("/", get(async || Redirect::temporary("/docs/")))
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || page("")))
        .route("/docs/{*file}", get(async |Path(file): Path<String>| page(&file)))
        .method_not_allowed_fallback(gate::method_not_allowed)
}

fn page(file: &str) -> Result<Response, Problem> {
    let config = Config::from("/openapi.json").persist_authorization(false).validator_url("none");
    // The page names its assets, so it is asked for anew each time.
    let cached =
        if matches!(file, "" | "index.html") { "no-cache" } else { "public, max-age=3600" };
    match serve(file, Arc::new(config)) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::CACHE_CONTROL, cached.to_owned()),
            ];
            let titled = cached == "no-cache";
            let bytes = if titled { titled_page(&file.bytes) } else { bytes(file.bytes) };
            Ok((headers, bytes).into_response())
        }
        Ok(None) => Err(gate::nothing_here()),
        Err(error) => {
            tracing::error!(%error, "could not render the API page");
            Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

/// The page under its own title.
fn titled_page(page: &[u8]) -> Bytes {
    let page = String::from_utf8_lossy(page);
    let title = format!("<title>{}</title>", openapi::TITLE);
    page.replace("<title>Swagger UI</title>", &title).into()
}

/// Most assets are in the binary, megabytes of them: not one is copied for a request.
fn bytes(file: Cow<'static, [u8]>) -> Bytes {
    match file {
        Cow::Borrowed(asset) => Bytes::from_static(asset),
        Cow::Owned(made) => made.into(),
    }
}
