//! URLs of databases, as far as tests take them apart.

use std::fmt;

/// `postgres://credentials@address/database?parameters`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Url {
    pub(super) credentials: String,
    pub(super) address: String,
    pub(super) database: String,
    pub(super) parameters: String,
}

impl Url {
    /// Takes one apart.
    ///
    /// # Panics
    /// When it has not this form.
    pub(super) fn parse(url: &str) -> Self {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .unwrap_or_else(|| panic!("a postgres:// URL, and not {url:?}"));
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, database) = rest.split_once('/').unwrap_or((rest, "postgres"));
        let (credentials, address) =
            rest.rsplit_once('@').unwrap_or_else(|| panic!("a user in {url:?}"));
        Self {
            credentials: credentials.to_owned(),
            address: address.to_owned(),
            database: database.to_owned(),
            parameters: parameters.to_owned(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}/{}", self.credentials, self.address, self.database)?;
        if self.parameters.is_empty() { Ok(()) } else { write!(f, "?{}", self.parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_taken_apart_and_put_together_is_the_same() {
        for url in [
            "postgres://root@127.0.0.1:5432/postgres",
            "postgres://root:p%40ss@db.example/shop?sslmode=require&application_name=x",
        ] {
            assert_eq!(Url::parse(url).to_string(), url);
        }
    }
}
