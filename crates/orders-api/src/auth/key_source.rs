//! Where the keys of an issuer come from: a server, or a file.

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use mainstay::{
    client::http::{BaseUrl, Client, Config, InvalidBaseUrl, Safety, TlsError},
    metrics::Metrics,
    telemetry::error_chain,
};
use mainstay_context::{Context, RequestId};
use tokio::time::Instant;

use super::jwks::KeySet;

/// How long the key server may take, all tries together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the keys of an issuer are.
#[derive(Debug)]
pub enum Source {
    /// On a server, at this address of it.
    Server(Client, Uri),
    /// In a file.
    File(PathBuf),
}

impl Source {
    /// The keys at this URL; what the client's section says of an address does not count.
    ///
    /// # Errors
    /// Fails when the certificates that an `https` address needs cannot be read.
    pub fn server(url: &KeysUrl, config: &Config, metrics: &Metrics) -> Result<Self, TlsError> {
        let config = Config { base_url: url.server.clone(), ..config.clone() };
        Ok(Self::Server(Client::new("jwks", &config, metrics)?, url.path.clone()))
    }

    /// What asks the server, if they are on one.
    pub const fn client(&self) -> Option<&Client> {
        match self {
            Self::Server(client, _) => Some(client),
            Self::File(_) => None,
        }
    }

    /// The keys as they are now.
    pub(super) async fn ask(&self) -> Result<KeySet, String> {
        let json = match self {
            Self::Server(client, path) => fetch(client, path).await?,
            Self::File(path) => read(path.clone()).await?,
        };
        KeySet::read(&json).map_err(|error| error.to_string())
    }
}

async fn fetch(client: &Client, path: &Uri) -> Result<Bytes, String> {
    let id = "jwks".parse::<RequestId>().map_err(|error| error.to_string())?;
    let cx = Context::new(id).with_deadline((Instant::now() + PATIENCE).into_std());
    let request =
        Request::get(path.clone()).header(header::ACCEPT, "application/json").body(Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.call(&cx, Safety::Safe, request).await;
    let answer = answer.map_err(|error| error_chain(&error))?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(format!("the key server answered {status}")),
    }
}

/// A file system may hang, and must hold up no other task.
async fn read(path: PathBuf) -> Result<Bytes, String> {
    let cannot = format!("cannot read {}", path.display());
    let read = tokio::task::spawn_blocking(move || fs::read(path)).await;
    let read = read.map_err(|error| error.to_string())?;
    read.map(Bytes::from).map_err(|error| format!("{cannot}: {error}"))
}

/// The URL of a set of keys: a server, and a path on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUrl {
    server: BaseUrl,
    path: Uri,
}

impl FromStr for KeysUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidBaseUrl)?;
        let mut parts = uri.into_parts();
        let path = parts.path_and_query.take().map_or_else(|| Uri::from_static("/"), Uri::from);
        let (scheme, authority) = parts.scheme.zip(parts.authority).ok_or(InvalidBaseUrl)?;
        Ok(Self { server: format!("{scheme}://{authority}").parse()?, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_server_and_a_path() {
        let read = |text: &str| text.parse::<KeysUrl>();
        let url = read("https://id.test:8443/realms/shop/certs?p=1").unwrap();
        assert_eq!(
            (url.server.to_string(), url.path.to_string()),
            ("https://id.test:8443/".to_owned(), "/realms/shop/certs?p=1".to_owned())
        );
        assert_eq!(read("http://127.0.0.1:9000").unwrap().path, "/");
        for wrong in ["", "id.test/keys", "/keys", "ftp://id.test/keys", "https://u:p@id.test/keys"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
