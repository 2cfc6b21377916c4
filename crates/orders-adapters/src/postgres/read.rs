//! What is read: each read is one transaction over one snapshot, which sees one tenant's rows only.

use std::{pin::pin, sync::atomic::Ordering::Relaxed, time::Duration};

use deadpool_postgres::Object;
use mainstay_context::{Activity, Context};
use orders::{
    domain::{Entry, Order, OrderId, PaymentState, Record, TenantId, Version},
    ports::{
        Cursor, Filter, Operation, OrderRef, Page, ReadError, Receipt, ReceiptKey, Task, TaskId,
    },
};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Row, types::Type};

use super::{
    Shared,
    failed::Failed,
    rows::{self, CREATE_RECEIPT, ENTRY, ORDER, RECEIPT, TASK},
    session::{Param, Query, transaction},
};
use crate::{
    instruments::{Waiting, now},
    stored::{Read, count},
};

/// Whose rows a read sees.
pub(super) enum Sees<'a> {
    Tenant(&'a TenantId),
    Everybody,
}

/// How long a read may take that brings no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a read has to be answered.
pub(super) fn deadline(cx: &Context) -> Instant {
    cx.deadline().map_or_else(|| Instant::now() + PATIENCE, Instant::from_std)
}

/// Lets go of a connection: back to the pool once its read has ended, and else to who sees to what is
/// still under way.
struct Borrowed<'a> {
    client: Option<Object>,
    shared: &'a Shared,
    ended: bool,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if !self.ended {
            self.shared.tally.interrupted.fetch_add(1, Relaxed);
            self.shared.cancels.leave(client);
        }
    }
}

impl Shared {
    /// Reads in one snapshot; gives the rows of each query that answers.
    pub(super) async fn read(
        &self,
        cx: &Context,
        sees: Sees<'_>,
        queries: &[Query<'_>],
    ) -> Result<Vec<Vec<Row>>, ReadError> {
        if !self.health.is_up() {
            return Err(ReadError::Unavailable(None));
        }
        let asked = Instant::now();
        let deadline = deadline(cx);
        if cx.ended(asked.into_std()).is_some() {
            self.tally.expired.fetch_add(1, Relaxed);
            return Err(ReadError::Expired);
        }
        let waiting = Waiting::begin(cx);
        let got = timeout_at(deadline, self.pool.get()).await.map_err(|_| ReadError::Expired)?;
        let client = got.map_err(|error| {
            let failed = Failed::unsent(error);
            self.note(&failed);
            failed.read_error()
        })?;
        self.instruments.read_wait.observe(asked.elapsed().as_secs_f64(), &[]);
        cx.enter(Activity::Storing, now());
        let began = Instant::now();
        let mut borrowed = Borrowed { client: Some(client), shared: self, ended: false };
        let answered = {
            let read = pin!(borrowed.run(sees, deadline, queries));
            timeout_at(deadline, self.attended(read)).await
        };
        self.instruments.read.observe(began.elapsed().as_secs_f64(), &[]);
        drop(waiting);
        let Ok(answered) = answered else {
            self.health.doubt();
            return Err(ReadError::Expired);
        };
        self.tally.finished.fetch_add(1, Relaxed);
        borrowed.ended = true;
        answered.map_err(|failed| {
            if failed.is_of_the_connection() {
                drop(borrowed.client.take().map(Object::take));
            }
            self.note(&failed);
            failed.read_error()
        })
    }
}

impl Borrowed<'_> {
    async fn run(
        &self,
        sees: Sees<'_>,
        deadline: Instant,
        queries: &[Query<'_>],
    ) -> Result<Vec<Vec<Row>>, Failed> {
        let Some(client) = &self.client else { return Err(Failed::unsent("no connection")) };
        // In milliseconds, of which PostgreSQL takes no more than fit 31 bits.
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let left = left.clamp(1, 1 << 30);
        let tenant = match sees {
            Sees::Tenant(tenant) => quoted(tenant.as_str()),
            Sees::Everybody => "'*'".to_owned(),
        };
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {left}; \
             SET LOCAL orderly.tenant = {tenant}"
        );
        transaction(client, &begin, self.shared.config.prepare, queries).await
    }
}

/// A text as a literal.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The condition that rows are the tenant's, by its column and the parameter that names it. It is not the
/// only one: the database itself shows a tenant's rows only. A test takes this one away to see that.
pub(super) fn own(column: &str, tenant: &str) -> String {
    #[cfg(test)]
    if tests::WITHOUT_FILTER.with(std::cell::Cell::get) {
        return format!("{tenant} IS NOT NULL");
    }
    format!("{column} = {tenant}")
}

fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Read<T>) -> Result<Vec<T>, ReadError> {
    let read: Read<Vec<T>> = rows.iter().map(read).collect();
    read.map_err(|cause| ReadError::Unavailable(Some(cause)))
}

pub(super) async fn order(
    shared: &Shared,
    cx: &Context,
    tenant: &TenantId,
    order: OrderRef,
) -> Result<Option<Record>, ReadError> {
    let (id, number) = match order {
        OrderRef::Id(id) => (Some(id.0), None),
        OrderRef::Number(number) => (None, Some(count(number.bits()))),
    };
    let name = tenant.as_str();
    let by = if id.is_some() { "id = $1" } else { "number = $1" };
    let own = own("o.tenant", "$2");
    let order = format!(
        "SELECT {ORDER}, p.data FROM orders o LEFT JOIN personal p ON p.order_id = o.id
         WHERE o.{by} AND {own}"
    );
    let notes = format!(
        "SELECT n.version, n.at, n.author, n.text FROM orders o JOIN notes n ON n.order_id = o.id
         WHERE o.{by} AND {own} AND o.notes > 0 ORDER BY n.version"
    );
    let key: Param<'_> = match &id {
        Some(id) => (id, Type::UUID),
        None => (&number, Type::INT8),
    };
    let query = |sql| Query { sql, params: vec![key.clone(), (&name, Type::TEXT)], answers: true };
    let queries = [query(&order), query(&notes)];
    let mut found = shared.read(cx, Sees::Tenant(tenant), &queries).await?;
    let notes = all(&found.pop().unwrap_or_default(), rows::note)?;
    let found = found.pop().unwrap_or_default();
    let record = found.first().map(|row| rows::record(row, notes)).transpose();
    record.map_err(|cause| ReadError::Unavailable(Some(cause)))
}

pub(super) async fn orders(
    shared: &Shared,
    cx: &Context,
    ids: &[OrderId],
) -> Result<Vec<Order>, ReadError> {
    let sql = format!("SELECT {ORDER} FROM orders o WHERE o.id = ANY($1)");
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let query = Query { sql: &sql, params: vec![(&ids, Type::UUID_ARRAY)], answers: true };
    let mut found = shared.read(cx, Sees::Everybody, &[query]).await?;
    all(&found.pop().unwrap_or_default(), rows::order)
}

pub(super) async fn receipt(
    shared: &Shared,
    cx: &Context,
    key: &ReceiptKey,
) -> Result<Option<Receipt>, ReadError> {
    let (tenant, own) = (key.tenant.as_str(), own("tenant", "$1"));
    let (operation, text) = (key.operation.as_str(), key.key.as_str());
    let made = format!("SELECT {CREATE_RECEIPT} FROM orders WHERE {own} AND create_key = $2");
    let kept =
        format!("SELECT {RECEIPT} FROM receipts WHERE {own} AND key = $2 AND operation = $3");
    let mut queries = vec![Query {
        sql: &kept,
        params: vec![(&tenant, Type::TEXT), (&text, Type::TEXT), (&operation, Type::TEXT)],
        answers: true,
    }];
    if key.operation == Operation::Create {
        let params: Vec<Param<'_>> = vec![(&tenant, Type::TEXT), (&text, Type::TEXT)];
        queries.push(Query { sql: &made, params, answers: true });
    }
    let found = shared.read(cx, Sees::Tenant(&key.tenant), &queries).await?;
    let found: Vec<Row> = found.into_iter().flatten().collect();
    // The order itself says more than that its making was refused once.
    Ok(all(&found, rows::receipt)?.pop())
}

pub(super) async fn list(
    shared: &Shared,
    cx: &Context,
    tenant: &TenantId,
    filter: &Filter,
    page: Page<Cursor>,
) -> Result<Vec<Order>, ReadError> {
    let mut sql = format!("SELECT {ORDER} FROM orders o WHERE {}", own("tenant", "$1"));
    let name = tenant.as_str();
    let mut params: Vec<Param<'_>> = vec![(&name, Type::TEXT)];
    let state = filter.state.map(orders::domain::State::as_str);
    let payment_state = filter.payment_state.map(PaymentState::as_str);
    let customer = filter.customer_id.as_ref().map(|id| id.as_str().to_owned());
    let reference = filter.external_reference.as_ref().map(|text| text.as_str().to_owned());
    let (at, id) = (page.after.map(|cursor| cursor.created_at), page.after.map(|c| c.id.0));
    let mut and = |is_there: bool, condition: &str, value, of| {
        if is_there {
            params.push((value, of));
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("${}", params.len())));
        }
    };
    and(state.is_some(), "state = ?", &state, Type::TEXT);
    and(payment_state.is_some(), "payment_state = ?", &payment_state, Type::TEXT);
    and(customer.is_some(), "customer_id = ?", &customer, Type::TEXT);
    and(reference.is_some(), "external_reference = ?", &reference, Type::TEXT);
    and(filter.created_after.is_some(), "created_at > ?", &filter.created_after, Type::TIMESTAMPTZ);
    // Twice, because only the plain comparison bounds a walk over the index behind the wall.
    and(at.is_some(), "created_at <= ?", &at, Type::TIMESTAMPTZ);
    and(at.is_some(), "(created_at < ?", &at, Type::TIMESTAMPTZ);
    if at.is_some() {
        sql = format!("{sql} OR id < ${})", params.len() + 1);
        params.push((&id, Type::UUID));
    }
    if filter.payment_state.is_some_and(|state| state != PaymentState::None) {
        // Says to the planner what the partial index needs to know.
        sql.push_str(" AND payment_state <> 'NONE'");
    }
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    params.push((&limit, Type::INT8));
    sql = format!("{sql} ORDER BY created_at DESC, id DESC LIMIT ${}", params.len());
    let query = Query { sql: &sql, params, answers: true };
    let mut found = shared.read(cx, Sees::Tenant(tenant), &[query]).await?;
    all(&found.pop().unwrap_or_default(), rows::order)
}

pub(super) async fn history(
    shared: &Shared,
    cx: &Context,
    tenant: &TenantId,
    order: OrderId,
    page: Page<Version>,
) -> Result<Vec<Entry>, ReadError> {
    let own = own("tenant", "$3");
    let sql = format!(
        "SELECT {ENTRY} FROM history WHERE order_id = $1 AND version > $2 AND {own}
         ORDER BY version LIMIT $4"
    );
    let after = page.after.map_or(0, |version| count(version.get()));
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let name = tenant.as_str();
    let params: Vec<Param<'_>> = vec![
        (&order.0, Type::UUID),
        (&after, Type::INT8),
        (&name, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let query = Query { sql: &sql, params, answers: true };
    let mut found = shared.read(cx, Sees::Tenant(tenant), &[query]).await?;
    all(&found.pop().unwrap_or_default(), rows::entry)
}

pub(super) async fn task(
    shared: &Shared,
    cx: &Context,
    id: TaskId,
) -> Result<Option<Task>, ReadError> {
    let sql = format!("SELECT {TASK} FROM tasks WHERE id = $1");
    let params: Vec<Param<'_>> = vec![(&id.0, Type::UUID)];
    let query = Query { sql: &sql, params, answers: true };
    let mut found = shared.read(cx, Sees::Everybody, &[query]).await?;
    Ok(all(&found.pop().unwrap_or_default(), rows::task)?.pop())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mainstay::metrics::Metrics;
    use orders::{
        Orders,
        domain::{Position, Record},
        ports::{Ports, Scope, Store as _},
        usecase::{Policy, Verb},
    };
    use orders_testkit::{World, builders, servers};

    use super::*;
    use crate::postgres::{Config, Postgres, migrate};

    thread_local! {
        /// Takes the tenant's condition out of every read that this thread makes.
        pub(super) static WITHOUT_FILTER: Cell<bool> = const { Cell::new(false) };
    }

    struct Parts(Postgres, World);

    impl Ports for Parts {
        type Store = Postgres;
        type Clock = <World as Ports>::Clock;
        type Ids = <World as Ports>::Ids;
        type Gateway = World;

        fn store(&self) -> &Postgres {
            &self.0
        }

        fn clock(&self) -> &Self::Clock {
            self.1.clock()
        }

        fn ids(&self) -> &Self::Ids {
            self.1.ids()
        }

        fn gateway(&self) -> &World {
            &self.1
        }
    }

    /// What each way to read an order, or what belongs to it, gives to this tenant: how many.
    async fn seen_by(reader: &str, store: &Postgres, of: &Record) -> Vec<(&'static str, usize)> {
        let (cx, reader) = (builders::context(reader), reader.parse::<TenantId>().unwrap());
        let (order, tenant) = (&of.order, &reader);
        let by = async |order| store.order(&cx, tenant, order).await.unwrap();
        let receipt = async |operation| {
            let key = builders::key("walled");
            let key = ReceiptKey { tenant: tenant.clone(), operation, key };
            store.receipt(&cx, &key, order.created_at).await.unwrap()
        };
        let (id, number) = (OrderRef::Id(order.id), OrderRef::Number(order.number));
        let all = Filter::default();
        let listed = store.list(&cx, tenant, &all, Page { after: None, limit: 9 }).await;
        let history = Page { after: None, limit: 9 };
        let history = store.history(&cx, tenant, order.id, history).await;
        let (scope, from) = (Scope::Tenant(tenant.clone()), Position(0));
        let feed = store.events(&cx, &scope, Page { after: Some(from), limit: 9 }).await;
        vec![
            ("order by id", by(id).await.into_iter().count()),
            ("order by number", by(number).await.into_iter().count()),
            ("notes", by(id).await.map_or(0, |found| found.notes.len())),
            ("receipt of a create", receipt(Operation::Create).await.into_iter().count()),
            ("receipt of a verb", receipt(Operation::AddNote).await.into_iter().count()),
            ("list", listed.unwrap().len()),
            ("history", history.unwrap().len()),
            ("feed", feed.unwrap().events.len()),
        ]
    }

    #[tokio::test]
    async fn the_database_hides_other_tenants_rows_from_a_read_without_its_filter() {
        let config = Config::at(servers::postgres().database());
        migrate(&config).await.unwrap();
        let store = Postgres::open(&config, &Metrics::new("test")).await.unwrap();
        let orders = Orders::new(Parts(store, World::new(1)), Policy::default());
        let (cx, key) = (builders::context("acme"), builders::key("walled"));
        let made = orders.create(&cx, builders::draft(), key.clone()).await.unwrap();
        let note = builders::note(made.record.order.id, "a remark");
        let noted = orders.act(&cx, Verb { key: Some(key), ..note }).await.unwrap().record;
        let store = orders.ports().store();
        let is_hidden = |(_, count): &(&str, usize)| *count == 0;

        let own = seen_by("acme", store, &noted).await;
        assert!(!own.iter().any(is_hidden), "{own:?}");
        WITHOUT_FILTER.set(true);
        let behind_the_wall = seen_by("other", store, &noted).await;
        assert!(behind_the_wall.iter().all(is_hidden), "{behind_the_wall:?}");

        let client = store.shared.pool.get().await.unwrap();
        for table in ["orders", "notes", "receipts", "history", "events"] {
            let open = format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
            client.batch_execute(&open).await.unwrap();
        }
        drop(client);
        let without_it = seen_by("other", store, &noted).await;
        assert!(!without_it.iter().any(is_hidden), "{without_it:?}");
        store.close().await;
    }
}
