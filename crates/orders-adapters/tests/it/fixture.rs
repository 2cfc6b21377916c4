//! A store in a folder of its own.

use std::path::PathBuf;

use orders::{
    Error,
    audit::{self, Report},
};
use orders_adapters::sqlite::{Config, Sqlite};
use orders_testkit::contract::Subject;
use tempfile::TempDir;

/// A store that is gone with the fixture.
pub(crate) struct Fixture {
    pub(crate) store: Sqlite,
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&Config::at(folder.path().join("orders.db"))).unwrap();
        Self { store, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("orders.db")
    }

    /// Closes the store and opens it again, as after a restart.
    pub(crate) fn reopened(self) -> Self {
        let Self { store, folder } = self;
        drop(store);
        let store = Sqlite::open(&Config::at(folder.path().join("orders.db"))).unwrap();
        Self { store, folder }
    }
}

impl Subject for Fixture {
    type Store = Sqlite;

    fn store(&self) -> &Sqlite {
        &self.store
    }

    async fn audit(&self) -> Result<Report, Error> {
        audit::audit(&Sqlite::snapshot(&self.path()).unwrap()).await
    }
}
