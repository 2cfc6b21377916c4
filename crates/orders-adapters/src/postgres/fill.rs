//! Filling an empty database with what another store holds.

use jiff::Timestamp;
use orders::{
    audit::audit,
    codec,
    domain::{ExternalReference, OrderId, Position, Reason, State},
    ports::{AuditSource, Census, Decision, Dossier, Operation, Page, Receipt},
};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{Config, OpenError, Snapshot};
use crate::{
    content,
    stored::{count, trace_column},
};

/// Orders taken over at a time.
const PAGE: usize = 500;

/// What a store holds beside its orders.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// What signs that which clients carry between requests.
    pub page_secret: [u8; 32],
    /// How far the feed has been published, if it is.
    pub published: Option<Position>,
}

/// Why a store was not taken over. Nothing of it was, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database holds orders.
    #[error("the database holds {0} orders or events already; only an empty one can be filled")]
    NotEmpty(i64),
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[from] orders::Error),
    /// The source does not hold together.
    #[error("the source does not hold together; see `orderly audit`: {0}")]
    Unsound(String),
    /// The server refuses what is written.
    #[error("the database refuses what is written")]
    Write(#[source] tokio_postgres::Error),
    /// What was written is not what was read.
    #[error("what was written is not what was read: {0}")]
    Differs(String),
    /// It is not known whether the last word arrived.
    #[error(
        "the database did not answer the commit: it holds all of the store or nothing, which \
         `orderly audit` on it tells; when it is empty, take the store over again"
    )]
    Unanswered(#[source] tokio_postgres::Error),
}

/// How the filling transaction begins. Nobody uses the tables meanwhile.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL orderly.tenant = '*'; \
    LOCK TABLE orders, history, outbox, events, receipts, personal, notes, tasks \
    IN ACCESS EXCLUSIVE MODE";

/// All that a store holds, written and found to be the same, but not committed: dropped, it is as if
/// nothing had been written.
#[derive(Debug)]
#[must_use = "nothing is taken over before it is committed"]
pub struct Filled {
    written: Snapshot,
    census: Census,
}

impl Filled {
    /// Makes it so, and says how much there is.
    ///
    /// # Errors
    /// [`FillError::Unanswered`].
    pub async fn commit(self) -> Result<Census, FillError> {
        let committed = self.written.client().batch_execute("COMMIT").await;
        committed.map_err(FillError::Unanswered)?;
        Ok(self.census)
    }
}

/// Takes over all that `source` holds, in one transaction, and compares what was written with what was
/// read before that is committed. `source` must not change meanwhile, nor afterwards.
///
/// # Errors
/// [`FillError`].
pub async fn fill(
    config: &Config,
    source: &impl AuditSource,
    beside: Beside,
    mut progress: impl FnMut(u64),
) -> Result<Filled, FillError> {
    let written = Snapshot::begun_by(config, BEGIN).await?;
    let client = written.client();
    is_empty(client).await?;
    let report = audit(source).await?;
    if let Some(finding) = report.findings.first() {
        return Err(FillError::Unsound(finding.to_string()));
    }
    let census = report.census;
    copy(client, source, &mut progress).await?;
    let forgotten = count(census.oldest.0.saturating_sub(1));
    let (published, secret) = (beside.published.map(|to| count(to.0)), &beside.page_secret[..]);
    let sql = "UPDATE meta SET forgotten = $1, published = $2, page_secret = $3";
    let wrote = client.execute(sql, &[&forgotten, &published, &secret]).await;
    wrote.map_err(FillError::Write)?;
    // Without it the server takes the tables for small, and looks for every page in all of them.
    let analyze = "ANALYZE orders, history, events, receipts, personal, notes, tasks";
    client.batch_execute(analyze).await.map_err(FillError::Write)?;
    verify(&written, source, census).await?;
    Ok(Filled { written, census })
}

async fn is_empty(client: &Client) -> Result<(), FillError> {
    let sql = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM events)
        + (SELECT count(*) FROM outbox)";
    let row = client.query_one(sql, &[]).await.map_err(FillError::Write)?;
    match row.try_get(0).map_err(FillError::Write)? {
        0 => Ok(()),
        there => Err(FillError::NotEmpty(there)),
    }
}

async fn copy(
    client: &Client,
    source: &impl AuditSource,
    progress: &mut impl FnMut(u64),
) -> Result<(), FillError> {
    let (mut after, mut done) = (None, 0);
    loop {
        let page =
            source.dossiers(Page { after, limit: PAGE }).await.map_err(orders::Error::from)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for table in tables(&page) {
            table.insert(client).await.map_err(FillError::Write)?;
        }
        done += page.len() as u64;
        progress(done);
    }
}

/// Audits what was written and compares it, order by order, with the source.
async fn verify(
    written: &Snapshot,
    source: &impl AuditSource,
    census: Census,
) -> Result<(), FillError> {
    let differs = |what: String| Err(FillError::Differs(what));
    let report = audit(written).await?;
    if let Some(finding) = report.findings.first() {
        return differs(finding.to_string());
    }
    if report.census != census {
        return differs(format!("{:?} instead of {census:?}", report.census));
    }
    let mut after: Option<OrderId> = None;
    loop {
        let page = Page { after, limit: PAGE };
        let ours = source.dossiers(page).await.map_err(orders::Error::from)?;
        let theirs = written.dossiers(page).await.map_err(orders::Error::from)?;
        let Some(last) = ours.last() else { return Ok(()) };
        after = Some(last.id);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if !is_same(ours, theirs) {
                return differs(format!("order {}", ours.id));
            }
        }
    }
}

fn is_same(ours: &Dossier, theirs: &Dossier) -> bool {
    let receipts = |dossier: &Dossier| {
        let mut receipts = dossier.receipts.clone();
        receipts.sort_by(|a, b| a.key.cmp(&b.key));
        receipts
    };
    let told = |dossier: &Dossier| {
        let told = dossier.history.iter().map(|told| (told.entry.clone(), told.event.clone()));
        told.collect::<Vec<_>>()
    };
    let tasks = |dossier: &Dossier| {
        let mut tasks = dossier.tasks.clone();
        tasks.sort_by_key(|task| task.id);
        tasks
    };
    ours.id == theirs.id
        && ours.record == theirs.record
        && ours.derived == theirs.derived
        && told(ours) == told(theirs)
        && receipts(ours) == receipts(theirs)
        && tasks(ours) == tasks(theirs)
}

/// Rows of one table, column by column.
struct Table {
    name: &'static str,
    columns: Vec<(&'static str, Type, Box<dyn ToSql + Sync + Send>)>,
}

impl Table {
    fn new(name: &'static str) -> Self {
        Self { name, columns: Vec::new() }
    }

    fn column<T>(mut self, name: &'static str, of: Type, values: impl Iterator<Item = T>) -> Self
    where
        Vec<T>: ToSql + Sync + Send + 'static,
    {
        self.columns.push((name, of, Box::new(values.collect::<Vec<T>>())));
        self
    }

    async fn insert(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let names: Vec<&str> = self.columns.iter().map(|(name, ..)| *name).collect();
        let arrays: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, of, _))| format!("${}::{}", at + 1, of.name()))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({})",
            self.name,
            names.join(", "),
            arrays.join(", ")
        );
        let params: Vec<&(dyn ToSql + Sync)> =
            self.columns.iter().map(|(.., values)| &**values as &(dyn ToSql + Sync)).collect();
        let statement = client.prepare(&sql).await?;
        client.execute(&statement, &params).await.map(drop)
    }
}

/// Everything of a page of orders.
fn tables(page: &[Dossier]) -> Vec<Table> {
    vec![
        orders(page),
        history(page),
        events(page),
        receipts(page),
        personal(page),
        notes(page),
        tasks(page),
    ]
}

/// The receipt that is kept with an order, if it was placed under a key.
fn create_receipt(dossier: &Dossier) -> Option<&Receipt> {
    dossier.receipts.iter().find(|receipt| is_creates(receipt))
}

fn is_creates(receipt: &Receipt) -> bool {
    let accepted = matches!(receipt.decision, Decision::Accepted { .. });
    receipt.key.operation == Operation::Create && accepted
}

fn orders(page: &[Dossier]) -> Table {
    let orders = || {
        let records =
            page.iter().filter_map(|dossier| Some((dossier, dossier.record.as_ref().ok()?)));
        records.map(|(dossier, record)| (dossier, &record.order))
    };
    let key = |dossier| create_receipt(dossier).map(|receipt| receipt.key.key.as_str().to_owned());
    let print = |dossier| create_receipt(dossier).map(|receipt| receipt.fingerprint.0.to_vec());
    let until = |dossier| create_receipt(dossier).map(|receipt| receipt.expires_at);
    let text = |text: &str| text.to_owned();
    Table::new("orders")
        .column("id", Type::UUID_ARRAY, orders().map(|(_, o)| o.id.0))
        .column("tenant", Type::TEXT_ARRAY, orders().map(|(_, o)| text(o.tenant.as_str())))
        .column("number", Type::INT8_ARRAY, orders().map(|(_, o)| count(o.number.bits())))
        .column(
            "customer_id",
            Type::TEXT_ARRAY,
            orders().map(|(_, o)| text(o.customer_id.as_str())),
        )
        .column(
            "external_reference",
            Type::TEXT_ARRAY,
            orders().map(|(_, o)| {
                o.external_reference.as_ref().map(ExternalReference::as_str).map(text)
            }),
        )
        .column("state", Type::TEXT_ARRAY, orders().map(|(_, o)| text(o.state.as_str())))
        .column(
            "payment_state",
            Type::TEXT_ARRAY,
            orders().map(|(d, _)| d.derived.payment_state.clone()),
        )
        .column("currency", Type::TEXT_ARRAY, orders().map(|(_, o)| text(o.goods.currency.code())))
        .column("total_minor", Type::INT8_ARRAY, orders().map(|(d, _)| d.derived.total_minor))
        .column("version", Type::INT8_ARRAY, orders().map(|(_, o)| count(o.version.get())))
        .column("created_at", Type::TIMESTAMPTZ_ARRAY, orders().map(|(_, o)| o.created_at))
        .column("updated_at", Type::TIMESTAMPTZ_ARRAY, orders().map(|(_, o)| o.updated_at))
        .column(
            "notes",
            Type::INT4_ARRAY,
            orders().map(|(_, o)| i32::try_from(o.notes).unwrap_or(i32::MAX)),
        )
        .column("create_key", Type::TEXT_ARRAY, orders().map(|(d, _)| key(d)))
        .column("create_fingerprint", Type::BYTEA_ARRAY, orders().map(|(d, _)| print(d)))
        .column("create_key_expires_at", Type::TIMESTAMPTZ_ARRAY, orders().map(|(d, _)| until(d)))
        .column(
            "payments",
            Type::TEXT_ARRAY,
            orders().map(|(_, o)| content::encode_payments(&o.payments)),
        )
        .column(
            "progress",
            Type::TEXT_ARRAY,
            orders().map(|(_, o)| content::encode_progress(&o.goods.lines)),
        )
        .column(
            "content",
            Type::TEXT_ARRAY,
            orders().map(|(_, o)| content::encode(&o.goods, &o.metadata)),
        )
}

fn tenant(dossier: &Dossier) -> String {
    dossier.record.as_ref().map_or_else(|_| String::new(), |r| r.order.tenant.as_str().to_owned())
}

fn history(page: &[Dossier]) -> Table {
    let entries = || {
        page.iter()
            .flat_map(|dossier| dossier.history.iter().map(move |told| (dossier, &told.entry)))
    };
    let text = |text: &str| text.to_owned();
    Table::new("history")
        .column("order_id", Type::UUID_ARRAY, entries().map(|(_, e)| e.order.0))
        .column("version", Type::INT8_ARRAY, entries().map(|(_, e)| count(e.version.get())))
        .column("tenant", Type::TEXT_ARRAY, entries().map(|(d, _)| tenant(d)))
        .column("change_id", Type::UUID_ARRAY, entries().map(|(_, e)| e.change.0))
        .column(
            "from_state",
            Type::TEXT_ARRAY,
            entries().map(|(_, e)| e.from.map(State::as_str).map(text)),
        )
        .column("to_state", Type::TEXT_ARRAY, entries().map(|(_, e)| text(e.to.as_str())))
        .column("command", Type::TEXT_ARRAY, entries().map(|(_, e)| text(e.command.as_str())))
        .column("actor", Type::TEXT_ARRAY, entries().map(|(_, e)| text(&e.actor)))
        .column(
            "reason",
            Type::TEXT_ARRAY,
            entries().map(|(_, e)| e.reason.as_ref().map(Reason::as_str).map(text)),
        )
        .column("request_id", Type::TEXT_ARRAY, entries().map(|(_, e)| text(e.request_id.as_str())))
        .column("trace", Type::TEXT_ARRAY, entries().map(|(_, e)| trace_column(e.trace)))
        .column("at", Type::TIMESTAMPTZ_ARRAY, entries().map(|(_, e)| e.at))
        .column(
            "position",
            Type::INT8_ARRAY,
            page.iter().flat_map(|dossier| &dossier.history).map(|told| {
                let forgotten = told.position.filter(|_| told.event.is_none());
                forgotten.map(|position| count(position.0))
            }),
        )
}

fn events(page: &[Dossier]) -> Table {
    let events =
        || page.iter().flat_map(|dossier| &dossier.history).filter_map(|told| told.event.as_ref());
    Table::new("events")
        .column("position", Type::INT8_ARRAY, events().map(|e| count(e.position.0)))
        .column("tenant", Type::TEXT_ARRAY, events().map(|e| e.tenant.as_str().to_owned()))
        .column("order_id", Type::UUID_ARRAY, events().map(|e| e.order.0))
        .column("version", Type::INT8_ARRAY, events().map(|e| count(e.version.get())))
        .column("change_id", Type::UUID_ARRAY, events().map(|e| e.id.0))
        .column("kind", Type::TEXT_ARRAY, events().map(|e| e.kind.clone()))
        .column("trace", Type::TEXT_ARRAY, events().map(|e| trace_column(e.trace)))
        .column("at", Type::TIMESTAMPTZ_ARRAY, events().map(|e| e.at))
        .column("data", Type::TEXT_ARRAY, events().map(|e| e.data.clone()))
}

/// Which change made a receipt is not taken over: that is only asked while a commit's outcome is
/// unknown, and whoever asks later asks by the key.
fn receipts(page: &[Dossier]) -> Table {
    let receipts =
        || page.iter().flat_map(|dossier| &dossier.receipts).filter(|receipt| !is_creates(receipt));
    Table::new("receipts")
        .column("tenant", Type::TEXT_ARRAY, receipts().map(|r| r.key.tenant.as_str().to_owned()))
        .column(
            "operation",
            Type::TEXT_ARRAY,
            receipts().map(|r| r.key.operation.as_str().to_owned()),
        )
        .column("key", Type::TEXT_ARRAY, receipts().map(|r| r.key.key.as_str().to_owned()))
        .column("fingerprint", Type::BYTEA_ARRAY, receipts().map(|r| r.fingerprint.0.to_vec()))
        .column("order_id", Type::UUID_ARRAY, receipts().map(|r| r.order.0))
        .column("change_id", Type::UUID_ARRAY, receipts().map(|_| None::<Uuid>))
        .column("decision", Type::TEXT_ARRAY, receipts().map(|r| codec::encode(&r.decision)))
        .column("expires_at", Type::TIMESTAMPTZ_ARRAY, receipts().map(|r| r.expires_at))
}

fn personal(page: &[Dossier]) -> Table {
    let rows = || {
        let records = page.iter().filter_map(|dossier| dossier.record.as_ref().ok());
        records.filter_map(|record| Some((&record.order, record.personal.as_ref()?)))
    };
    Table::new("personal")
        .column("order_id", Type::UUID_ARRAY, rows().map(|(order, _)| order.id.0))
        .column(
            "tenant",
            Type::TEXT_ARRAY,
            rows().map(|(order, _)| order.tenant.as_str().to_owned()),
        )
        .column("data", Type::TEXT_ARRAY, rows().map(|(_, data)| content::encode_personal(data)))
}

fn notes(page: &[Dossier]) -> Table {
    let notes = || {
        let records = page.iter().filter_map(|dossier| dossier.record.as_ref().ok());
        records.flat_map(|record| record.notes.iter().map(move |note| (&record.order, note)))
    };
    Table::new("notes")
        .column("order_id", Type::UUID_ARRAY, notes().map(|(order, _)| order.id.0))
        .column("version", Type::INT8_ARRAY, notes().map(|(_, note)| count(note.version.get())))
        .column(
            "tenant",
            Type::TEXT_ARRAY,
            notes().map(|(order, _)| order.tenant.as_str().to_owned()),
        )
        .column("at", Type::TIMESTAMPTZ_ARRAY, notes().map(|(_, note)| note.at))
        .column("author", Type::TEXT_ARRAY, notes().map(|(_, note)| String::from(&*note.author)))
        .column("text", Type::TEXT_ARRAY, notes().map(|(_, note)| note.text.as_str().to_owned()))
}

fn tasks(page: &[Dossier]) -> Table {
    let tasks = || page.iter().flat_map(|dossier| &dossier.tasks);
    Table::new("tasks")
        .column("id", Type::UUID_ARRAY, tasks().map(|task| task.id.0))
        .column("tenant", Type::TEXT_ARRAY, tasks().map(|task| task.tenant.as_str().to_owned()))
        .column("order_id", Type::UUID_ARRAY, tasks().map(|task| task.order.0))
        .column("kind", Type::TEXT_ARRAY, tasks().map(|task| task.kind.as_str().to_owned()))
        .column("due", Type::TIMESTAMPTZ_ARRAY, tasks().map(|task| task.due))
        // Nobody holds a task of a store that is closed.
        .column("epoch", Type::INT8_ARRAY, tasks().map(|_| 0_i64))
        .column("tries", Type::INT8_ARRAY, tasks().map(|task| i64::from(task.progress.tries)))
        .column(
            "sent",
            Type::TIMESTAMPTZ_ARRAY,
            tasks().map(|task| task.progress.sent as Option<Timestamp>),
        )
}
