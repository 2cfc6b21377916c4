//! Connections: where they lead, whom they trust, and pools of them.

use std::{
    fmt,
    future::pending,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use deadpool_postgres::{Connect, Manager, ManagerConfig, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use mainstay::{client::tls, config::Secret};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config as Target, Connection, Error, Socket,
    config::{Host, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Config, OpenError, session::told};

pub(super) use deadpool_postgres::Pool;

/// A setting that names a database, and its URL.
pub(super) type Named<'a> = (&'static str, &'a str);

/// The database, through a pooler where there is one.
pub(super) fn near(config: &Config) -> Named<'_> {
    ("postgres.url", config.url.as_str())
}

/// The database past any pooler.
pub(super) fn past_pooler(config: &Config) -> Named<'_> {
    match &config.direct_url {
        Some(url) => ("postgres.direct_url", url.as_str()),
        None => near(config),
    }
}

/// What carries what a client says to its server, and the answers back.
pub(super) type Driven = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The servers that a URL names, of which the one is used that takes writes.
///
/// They are asked one after the other, each for a limited time: one that takes connections and says
/// nothing is not to keep the others from being asked.
pub(super) struct Servers {
    each: Vec<Target>,
    password: Option<Password>,
    tls: MakeRustlsConnect,
    patience: Duration,
    /// Who is asked first: the one that was used last.
    first: AtomicUsize,
    /// How often the servers were in doubt; what is connected since has this age.
    age: AtomicU64,
    /// What is older than this is not waited for any more.
    cut: watch::Sender<u64>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("each", &self.each).finish_non_exhaustive()
    }
}

impl Servers {
    /// Those that carry changes and reads, through a pooler where there is one.
    pub(super) fn new(config: &Config) -> Result<Arc<Self>, OpenError> {
        Self::at(config, near(config)).map(Arc::new)
    }

    fn at(config: &Config, (key, url): Named<'_>) -> Result<Self, OpenError> {
        let trust = tls::trusting(config.ca_file.as_ref());
        let trust = trust.map_err(|error| OpenError::Tls(error.into()))?;
        Ok(Self {
            each: each(&target(config, key, url)?, key)?,
            password: config.password_file.as_deref().map(Password::open).transpose()?,
            tls: MakeRustlsConnect::new((*trust).clone()),
            patience: config.connect_timeout,
            first: AtomicUsize::new(0),
            age: AtomicU64::new(0),
            cut: watch::Sender::new(0),
        })
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Asks one after the other; fails with what tells most of what they said, or with nothing when
    /// they were silent.
    async fn connect(&self) -> Result<(Client, Driven), Option<Error>> {
        let password = self.password.as_ref().map(Password::now);
        let (first, count) = (self.first.load(Relaxed), self.each.len());
        let (before, from) = self.each.split_at(first % count);
        let mut failed: Option<Error> = None;
        for (at, server) in (first..).zip(from.iter().chain(before)) {
            let mut server = server.clone();
            if let Some(password) = &password {
                server.password(password.expose());
            }
            match timeout(self.patience, server.connect(self.tls())).await {
                Ok(Ok(connected)) => {
                    self.first.store(at % count, Relaxed);
                    return Ok(connected);
                }
                // That one takes no writes is said by this side, and is no news of a standby.
                Ok(Err(error)) if failed.is_none() || error.code().is_some() => {
                    failed = Some(error);
                }
                Ok(Err(_)) => {}
                Err(_) => {
                    tracing::debug!(server = ?server.get_hosts(), "a server says nothing");
                }
            }
        }
        Err(failed)
    }

    /// Has the next one asked first; gives the age of what is connected from now on.
    pub(super) fn begin_anew(&self) -> u64 {
        self.first.fetch_add(1, Relaxed);
        self.age.fetch_add(1, Relaxed) + 1
    }

    /// Ends the connections of the pools that are older: whoever waits for an answer on one learns that
    /// none comes.
    pub(super) fn cut_before(&self, age: u64) {
        self.cut.send_replace(age);
    }

    /// A pool of up to so many connections.
    pub(super) fn pool(self: &Arc<Self>, most: usize) -> Result<Pool, OpenError> {
        let Some(first) = self.each.first().cloned() else { return Err(OpenError::silent()) };
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(first, Dial(Arc::clone(self)), manager);
        let count = u32::try_from(self.each.len()).unwrap_or(u32::MAX);
        let pool = Pool::builder(manager)
            .max_size(most.max(1))
            .create_timeout(Some(self.patience.saturating_mul(count)))
            .recycle_timeout(Some(self.patience))
            .runtime(Runtime::Tokio1)
            .build();
        pool.map_err(|error| OpenError::strange(error.to_string()))
    }
}

/// The password in its file, where it may be replaced at any time: each connection is made with the one
/// that is there by then.
struct Password {
    file: PathBuf,
    /// As it was last read. It stands while there is no reading the file.
    last: Mutex<Secret<String>>,
}

impl Password {
    fn open(file: &Path) -> Result<Self, OpenError> {
        let read = Secret::from_file(file);
        let read = read.map_err(|error| OpenError::Password(file.to_owned(), error))?;
        Ok(Self { file: file.to_owned(), last: Mutex::new(read) })
    }

    fn now(&self) -> Secret<String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match Secret::from_file(&self.file) {
            Ok(now) => *last = now,
            // When it is not right any more, the server says so.
            Err(error) => tracing::debug!(error = %error, "the password cannot be read anew"),
        }
        last.clone()
    }
}

/// Connects for a pool.
struct Dial(Arc<Servers>);

impl Connect for Dial {
    fn connect(&self, _: &Target) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let servers = Arc::clone(&self.0);
        Box::pin(async move {
            let age = servers.age.load(Relaxed);
            let (client, driven) = match servers.connect().await {
                Ok(connected) => connected,
                Err(Some(error)) => return Err(error),
                // The time that the pool gives for this is over as well.
                Err(None) => pending().await,
            };
            Ok((client, drive(driven, age, servers.cut.subscribe())))
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with its client, which the pool owns")]
fn drive(driven: Driven, age: u64, mut cut: watch::Receiver<u64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            biased;
            ended = driven => if let Err(error) = ended {
                tracing::debug!(error = told(&error), "a connection to the database ended");
            },
            _ = cut.wait_for(|before| age < *before) => {}
        }
    })
}

/// A connection past any pooler.
pub(super) async fn direct(config: &Config) -> Result<(Client, Driven), OpenError> {
    let servers = Servers::at(config, past_pooler(config))?;
    let failed = |error: Option<Error>| error.map_or_else(OpenError::silent, OpenError::server);
    servers.connect().await.map_err(failed)
}

/// Where a connection leads.
fn target(config: &Config, key: &'static str, url: &str) -> Result<Target, OpenError> {
    let failed = |why: String| OpenError::Url { key, why };
    let mut target = Target::from_str(url).map_err(|e| failed(told(&e)))?;
    if target.get_dbname().is_none() {
        return Err(failed("it names no database".to_owned()));
    }
    if target.get_application_name().is_none() {
        target.application_name("orderly");
    }
    target.target_session_attrs(TargetSessionAttrs::ReadWrite);
    target.connect_timeout(config.connect_timeout);
    // A peer that is gone without a word is noticed in seconds and not in hours.
    target.keepalives(true).keepalives_idle(Duration::from_secs(5));
    target.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
    target.tcp_user_timeout(config.answer_timeout);
    Ok(target)
}

/// Where a URL leads, and as whom; nothing of a password. `None` when that cannot be read from it.
pub(super) fn place(url: &str) -> Option<String> {
    let target = Target::from_str(url).ok()?;
    let (names, addresses, ports) =
        (target.get_hosts(), target.get_hostaddrs(), target.get_ports());
    let server = |at: usize| {
        let name = match (names.get(at), addresses.get(at)) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, address) => address.map(ToString::to_string).unwrap_or_default(),
        };
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        format!("{name}:{port}")
    };
    let servers: Vec<_> = (0..names.len().max(addresses.len())).map(server).collect();
    let user = target.get_user().map(|user| format!(" as {user}")).unwrap_or_default();
    Some(format!("{}/{}{user}", servers.join(","), target.get_dbname()?))
}

/// The servers of a target, one by one.
fn each(target: &Target, key: &'static str) -> Result<Vec<Target>, OpenError> {
    let failed = |why: &str| OpenError::Url { key, why: why.to_owned() };
    let (names, addresses) = (target.get_hosts().len(), target.get_hostaddrs().len());
    let (count, ports) = (names.max(addresses), target.get_ports().len());
    if count == 0 {
        return Err(failed("it names no host"));
    }
    if names.min(addresses) != 0 && names != addresses {
        return Err(failed("it names more hosts than addresses, or fewer"));
    }
    if ports > 1 && ports != count {
        return Err(failed("it names more hosts than ports, or fewer"));
    }
    Ok((0..count).map(|at| one(target, at)).collect())
}

/// One server of a target, with all that holds for each of them.
fn one(target: &Target, at: usize) -> Target {
    let mut one = Target::new();
    match target.get_hosts().get(at) {
        Some(Host::Tcp(name)) => one.host(name),
        Some(Host::Unix(path)) => one.host_path(path),
        None => &mut one,
    };
    target.get_hostaddrs().get(at).map(|address| one.hostaddr(*address));
    let ports = target.get_ports();
    ports.get(at).or(ports.first()).map(|port| one.port(*port));
    target.get_user().map(|user| one.user(user));
    target.get_password().map(|password| one.password(password));
    target.get_dbname().map(|name| one.dbname(name));
    target.get_options().map(|options| one.options(options));
    target.get_application_name().map(|name| one.application_name(name));
    target.get_connect_timeout().map(|time| one.connect_timeout(*time));
    target.get_tcp_user_timeout().map(|time| one.tcp_user_timeout(*time));
    target.get_keepalives_interval().map(|time| one.keepalives_interval(time));
    target.get_keepalives_retries().map(|count| one.keepalives_retries(count));
    one.keepalives(target.get_keepalives())
        .keepalives_idle(target.get_keepalives_idle())
        .ssl_mode(target.get_ssl_mode())
        .ssl_negotiation(target.get_ssl_negotiation())
        .channel_binding(target.get_channel_binding())
        .target_session_attrs(target.get_target_session_attrs())
        .load_balance_hosts(target.get_load_balance_hosts());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every option that there is.
    const ALL: &str = "user=me password=secret dbname=orderly options='-c geqo=off' \
        application_name=app sslmode=require sslnegotiation=direct channel_binding=require \
        load_balance_hosts=random hostaddr=127.0.0.1,127.0.0.2";

    fn of(url: &str) -> Result<Vec<Target>, OpenError> {
        each(&target(&Config::at(url), "url", url)?, "url")
    }

    #[test]
    fn each_server_has_all_that_was_said_of_them() {
        let all = of(&format!("{ALL} host=db-1,db-2 port=5433,5434")).unwrap();
        let alone = |text: &str| target(&Config::at(text), "url", text).unwrap();
        let first = ALL.replacen(",127.0.0.2", "", 1);
        let second = ALL.replacen("127.0.0.1,", "", 1);
        assert_eq!(
            all,
            [
                alone(&format!("{first} host=db-1 port=5433")),
                alone(&format!("{second} host=db-2 port=5434")),
            ]
        );
    }

    #[test]
    fn one_port_holds_for_all_servers() {
        let all = of("host=db-1,/run/db dbname=orderly port=5433").unwrap();
        assert_eq!(
            all,
            [
                of("host=db-1 dbname=orderly port=5433").unwrap(),
                of("host=/run/db dbname=orderly port=5433").unwrap(),
            ]
            .concat()
        );
    }

    #[test]
    fn where_a_url_leads_is_told_without_its_password() {
        for (url, told) in [
            ("postgres://me:secret@db-1,db-2:5433/shop", "db-1:5432,db-2:5433/shop as me"),
            ("postgres://me@db/shop?password=secret", "db:5432/shop as me"),
            ("host=/run/db port=5433 dbname=shop password=secret", "/run/db:5433/shop"),
            ("hostaddr=127.0.0.1 dbname=shop user=me", "127.0.0.1:5432/shop as me"),
        ] {
            assert_eq!(place(url).as_deref(), Some(told), "{url}");
        }
        assert_eq!(place("postgres://me@db"), None);
    }

    #[test]
    fn a_password_is_read_anew_and_the_last_one_stands_without_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let password = Password::open(file.path()).unwrap();
        std::fs::write(file.path(), "second\n").unwrap();
        assert_eq!(password.now().expose(), "second");
        file.close().unwrap();
        assert_eq!(password.now().expose(), "second");
    }

    #[test]
    fn a_url_with_servers_that_cannot_be_told_apart_is_refused() {
        for url in [
            "dbname=orderly",
            "host=a,b port=1,2,3 dbname=orderly",
            "host=a,b hostaddr=127.0.0.1 dbname=orderly",
        ] {
            assert!(matches!(of(url), Err(OpenError::Url { .. })), "{url}");
        }
    }
}
