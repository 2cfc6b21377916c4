//! The service at the other end: the connection that all calls share, and one try of a call.

use super::{
    Answer, Ask, Body, Config, Error, NotSent, Outgoing, TlsError, Tries, answer,
    connection::{Connection, Failed},
};
use crate::{
    client::{
        dial::Dialer,
        limit::{Cut, Limit},
    },
    http::propagate_grpc,
};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use mainstay_context::Context;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// The connection to one service. Clones share it.
#[derive(Clone)]
pub(super) struct Origin(Arc<Shared>);

struct Shared {
    config: Config,
    dialer: Dialer,
    /// Locked while a connection is made, so that others wait for that one.
    slot: Mutex<Option<Held>>,
}

struct Held {
    connection: Connection,
    used: Instant,
}

/// How often something had come over a connection when a wait began.
#[derive(Clone, Copy)]
struct Heard {
    count: u64,
    since: Instant,
}

impl Heard {
    fn of(connection: &Connection) -> Self {
        Self { count: connection.heard(), since: Instant::now() }
    }
}

impl Origin {
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        let dialer = Dialer::new(config, Some(b"h2"))?;
        Ok(Self(Arc::new(Shared { config: config.clone(), dialer, slot: Mutex::default() })))
    }

    /// How many connections carry nothing.
    pub(super) fn idle(&self) -> usize {
        let slot = self.0.slot.try_lock();
        let held = slot.as_deref().ok().and_then(Option::as_ref);
        usize::from(held.is_some_and(|held| held.connection.is_idle()))
    }

    /// Opens a call that streams: sends it, and waits for the head of its answer.
    pub(super) async fn open(
        &self,
        cx: &Context,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Body>, Error> {
        let limit = Limit::none(cx);
        let sent_on = propagate_grpc(cx, limit.start.into_std(), request.headers_mut());
        sent_on.map_err(|cause| Error::NotSent(NotSent::Ended(cause)))?;
        let (response, connection) = self.0.send(request, &limit).await?;
        let (mut head, incoming) = response.into_parts();
        answer::make_readable(&mut head.headers);
        let body = if answer::speak(&mut head) {
            Body::whole(Bytes::new(), None)
        } else {
            Body::live(&head.headers, incoming, cx, connection)
        };
        Ok(Response::from_parts(head, body))
    }
}

impl tower::Service<Ask> for Origin {
    type Response = Answer;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

    fn poll_ready(&mut self, _task: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let mut answer = shared.attempt(&ask).await?;
            let tries = Tries::of(&ask.cx, &answer.head.headers);
            answer.head.extensions.insert(tries);
            Ok(answer)
        })
    }
}

impl Shared {
    async fn attempt(&self, ask: &Ask) -> Result<Answer, Error> {
        let limit = Limit::new(&ask.cx, self.config.try_timeout);
        let request = ask.request(&limit).map_err(Error::NotSent)?;
        let (response, connection) = self.send(request, &limit).await?;
        let heard = Heard::of(&connection);
        let read = answer::read(response, self.config.reply_limit, limit.start);
        match limit.hold(read).await {
            Ok(answer) => answer,
            Err(cut) => Err(self.cut(cut, &limit, (&connection, heard))),
        }
    }

    /// Sends a request over the connection there is, and over a new one if that has ended unnoticed.
    async fn send(
        &self,
        mut request: Request<Outgoing>,
        limit: &Limit<'_>,
    ) -> Result<(Response<Incoming>, Connection), Error> {
        let mut again = true;
        loop {
            let connection = self.connection(limit).await.map_err(Error::NotSent)?;
            let heard = Heard::of(&connection);
            match limit.hold(connection.send(request)).await {
                Ok(Ok(response)) => return Ok((response, connection)),
                Ok(Err(Failed { unsent: Some(unsent), .. })) if again && !limit.is_over() => {
                    again = false;
                    request = *unsent;
                }
                Ok(Err(Failed { error, .. })) => return Err(error),
                Err(cut) => return Err(self.cut(cut, limit, (&connection, heard))),
            }
        }
    }

    /// The error of a call that was waited for in vain. A connection over which nothing came in as much
    /// time as it takes to make another is not used again.
    fn cut(&self, cut: Cut, limit: &Limit<'_>, (connection, heard): (&Connection, Heard)) -> Error {
        let long = heard.since.elapsed() >= self.config.connect_timeout;
        if long && connection.heard() == heard.count {
            connection.retire();
        }
        // Its bytes may be on their way: the connection has other tasks than this one.
        Error::Unknown(cut.after(limit))
    }

    async fn connection(&self, limit: &Limit<'_>) -> Result<Connection, NotSent> {
        let got = limit.hold(timeout(self.config.connect_timeout, self.shared())).await;
        match got {
            Ok(Ok(got)) => got.map_err(NotSent::Connect),
            Ok(Err(_)) | Err(Cut::Try) => Err(NotSent::Connect(io::ErrorKind::TimedOut.into())),
            Err(Cut::Ended(cause)) => Err(NotSent::Ended(cause)),
        }
    }

    /// The connection there is, or a new one in its place.
    async fn shared(&self) -> io::Result<Connection> {
        let mut slot = self.slot.lock().await;
        if let Some(held) = slot.as_mut().filter(|held| self.is_usable(held)) {
            held.used = Instant::now();
            return Ok(held.connection.clone());
        }
        // Those whose calls it carries have clones of it.
        *slot = None;
        let connection = Connection::begin(self.dialer.dial().await?).await?;
        *slot = Some(Held { connection: connection.clone(), used: Instant::now() });
        Ok(connection)
    }

    fn is_usable(&self, held: &Held) -> bool {
        let rested = held.connection.is_idle() && held.used.elapsed() >= self.config.idle_timeout;
        held.connection.is_usable() && !rested
    }
}
