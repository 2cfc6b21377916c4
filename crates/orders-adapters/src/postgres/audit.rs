//! The store as it stands at one instant, for an audit.

use std::{collections::HashMap, fmt};

use orders::{
    domain::{OrderId, Position, Record},
    ports::{AuditSource, Census, Derived, Dossier, Event, Page, ReadError, Receipt, Task, Told},
};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{
    Config, OpenError, connect,
    feed::{SPAN, read_span},
    rows::{self, CREATE_RECEIPT, ENTRY, EVENT, ORDER, RECEIPT, TASK},
    schema,
    session::{Param, told},
};
use crate::stored::{Read, position};

/// One transaction that reads a whole store. While it is held the server keeps what was deleted since,
/// so hold it no longer than needed.
pub struct Snapshot {
    client: Client,
    _connection: JoinSet<()>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    /// Reads a store as it stands at this instant; also while services write it. Events that have no
    /// position yet are read as if they had the next ones.
    ///
    /// # Errors
    /// [`OpenError`] when there is no store, or it cannot be reached.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL orderly.tenant = '*'; \
                     SELECT FROM meta";
        Self::begun_by(config, begin).await
    }

    /// Checks the database and begins a transaction.
    pub(super) async fn begun_by(config: &Config, begin: &str) -> Result<Self, OpenError> {
        let opened = Self::opened(config, begin).await;
        opened.map_err(|error| error.at(connect::past_pooler(config)))
    }

    async fn opened(config: &Config, begin: &str) -> Result<Self, OpenError> {
        let (client, connection) = connect::direct(config).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a snapshot's connection ended");
            }
        });
        schema::check_on(&client).await?;
        client.batch_execute(begin).await.map_err(OpenError::server)?;
        Ok(Self { client, _connection: driver })
    }

    /// The connection, in the transaction.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, ReadError> {
        let asked = self.client.query_typed(sql, params).await;
        asked.map_err(|error| ReadError::Unavailable(Some(told(&error).into())))
    }
}

/// The feed with what waits for a place in it.
const FEED: &str =
    "(SELECT position, tenant, order_id, version, change_id, kind, trace, at, data FROM events
    UNION ALL
    SELECT row_number() OVER (ORDER BY seq)
        + (SELECT greatest(coalesce((SELECT max(position) FROM events), 0), forgotten) FROM meta),
        tenant, aggregateid, version, id, type, traceparent, at, payload FROM outbox) AS feed";

fn unread(cause: orders::ports::Cause) -> ReadError {
    ReadError::Unavailable(Some(cause))
}

impl AuditSource for Snapshot {
    async fn census(&self) -> Result<Census, ReadError> {
        let sql = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM history),
            (SELECT count(*) FROM events) + (SELECT count(*) FROM outbox),
            (SELECT count(create_key) FROM orders) + (SELECT count(*) FROM receipts),
            (SELECT count(*) FROM notes), (SELECT count(*) FROM personal),
            (SELECT count(*) FROM tasks), (SELECT count(*) FROM outbox)";
        let rows = self.rows(sql, &[]).await?;
        let span = self.rows(SPAN, &[]).await?;
        let (Some(row), Some(span)) = (rows.first(), span.first()) else {
            return Err(unread("the store cannot be counted".into()));
        };
        let number = |at: usize| -> Read<u64> { Ok(u64::try_from(row.try_get::<_, i64>(at)?)?) };
        let (forgotten, head, _) = read_span(span).map_err(unread)?;
        let census = || -> Read<Census> {
            Ok(Census {
                orders: number(0)?,
                history: number(1)?,
                events: number(2)?,
                receipts: number(3)?,
                notes: number(4)?,
                personal: number(5)?,
                tasks: number(6)?,
                oldest: forgotten.next(),
                head: Position(head.0 + number(7)?),
            })
        };
        census().map_err(unread)
    }

    async fn dossiers(&self, page: Page<OrderId>) -> Result<Vec<Dossier>, ReadError> {
        let after = page.after.map_or(Uuid::nil(), |id| id.0);
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {ORDER}, p.data, o.total_minor, o.payment_state
             FROM orders o LEFT JOIN personal p ON p.order_id = o.id
             WHERE o.id > $1 ORDER BY o.id LIMIT $2"
        );
        let orders = self.rows(&sql, &[(&after, Type::UUID), (&limit, Type::INT8)]).await?;
        let ids: Vec<Uuid> = orders.iter().filter_map(|row| row.try_get(0).ok()).collect();
        let mut papers = Papers::of(self, &ids).await?;
        orders.iter().map(|row| papers.dossier(row).map_err(unread)).collect()
    }
}

/// What is kept beside the orders of one page, by order.
#[derive(Default)]
struct Papers {
    history: HashMap<Uuid, Vec<Told>>,
    notes: HashMap<Uuid, Vec<orders::domain::Note>>,
    receipts: HashMap<Uuid, Vec<Receipt>>,
    tasks: HashMap<Uuid, Vec<Task>>,
    unreadable: HashMap<Uuid, Vec<String>>,
}

impl Papers {
    async fn of(store: &Snapshot, ids: &[Uuid]) -> Result<Self, ReadError> {
        let mut papers = Self::default();
        let ids: [Param<'_>; 1] = [(&ids, Type::UUID_ARRAY)];
        let events = format!("SELECT {EVENT} FROM {FEED} WHERE order_id = ANY($1)");
        let mut events = papers.events(&store.rows(&events, &ids).await?);
        let history = format!(
            "SELECT {ENTRY}, position FROM history WHERE order_id = ANY($1)
             ORDER BY order_id, version"
        );
        for row in &store.rows(&history, &ids).await? {
            papers.tell(row, &mut events).map_err(unread)?;
        }
        let notes = "SELECT version, at, author, text, order_id FROM notes WHERE order_id = ANY($1)
            ORDER BY order_id, version";
        for row in &store.rows(notes, &ids).await? {
            let order = row.try_get(4).map_err(|error| unread(error.into()))?;
            match rows::note(row) {
                Ok(note) => papers.notes.entry(order).or_default().push(note),
                Err(error) => papers.cannot(order, "a note", &error),
            }
        }
        let made = format!(
            "SELECT {CREATE_RECEIPT} FROM orders WHERE id = ANY($1) AND create_key IS NOT NULL"
        );
        let kept = format!("SELECT {RECEIPT} FROM receipts WHERE order_id = ANY($1)");
        for sql in [made, kept] {
            for row in &store.rows(&sql, &ids).await? {
                let order = row.try_get(4).map_err(|error| unread(error.into()))?;
                match rows::receipt(row) {
                    Ok(receipt) => papers.receipts.entry(order).or_default().push(receipt),
                    Err(error) => papers.cannot(order, "a receipt", &error),
                }
            }
        }
        let tasks = format!("SELECT {TASK} FROM tasks WHERE order_id = ANY($1) ORDER BY id");
        for row in &store.rows(&tasks, &ids).await? {
            let order = row.try_get(2).map_err(|error| unread(error.into()))?;
            match rows::task(row) {
                Ok(task) => papers.tasks.entry(order).or_default().push(task),
                Err(error) => papers.cannot(order, "a task", &error),
            }
        }
        Ok(papers)
    }

    fn cannot(&mut self, order: Uuid, what: &str, error: &orders::ports::Cause) {
        self.unreadable.entry(order).or_default().push(format!("{what} cannot be read: {error}"));
    }

    fn events(&mut self, found: &[Row]) -> HashMap<(Uuid, i64), (Position, Option<Event>)> {
        let mut events = HashMap::new();
        for row in found {
            let (Ok(at), Ok(order), Ok(version)) = (row.try_get(0), row.try_get(2), row.try_get(3))
            else {
                continue;
            };
            let event = rows::event(row);
            if let Err(error) = &event {
                self.cannot(order, "an event", error);
            }
            events.insert((order, version), (position(at), event.ok()));
        }
        events
    }

    fn tell(
        &mut self,
        row: &Row,
        events: &mut HashMap<(Uuid, i64), (Position, Option<Event>)>,
    ) -> Read<()> {
        let (order, version): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
        match rows::entry(row) {
            Ok(entry) => {
                let forgotten: Option<i64> = row.try_get(11)?;
                let (position, event) = match events.remove(&(order, version)) {
                    Some((position, event)) => (Some(position), event),
                    None => (forgotten.map(position), None),
                };
                let told = Told { entry, position, event };
                self.history.entry(order).or_default().push(told);
            }
            Err(error) => self.cannot(order, "a history row", &error),
        }
        Ok(())
    }

    fn dossier(&mut self, row: &Row) -> Read<Dossier> {
        let id: Uuid = row.try_get(0)?;
        let notes = self.notes.remove(&id).unwrap_or_default();
        let record: Read<Record> = rows::record(row, notes);
        Ok(Dossier {
            id: OrderId(id),
            record: record.map_err(|error| error.to_string()),
            derived: Derived { total_minor: row.try_get(15)?, payment_state: row.try_get(16)? },
            history: self.history.remove(&id).unwrap_or_default(),
            receipts: self.receipts.remove(&id).unwrap_or_default(),
            tasks: self.tasks.remove(&id).unwrap_or_default(),
            unreadable: self.unreadable.remove(&id).unwrap_or_default(),
        })
    }
}
