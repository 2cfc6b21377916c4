//! The service at the other end: the connection that all calls share, and one try of a call.

use super::{
    Answer, Body, Config, Error, NotSent, Outgoing, TlsError, Tries, answer,
    body::outgoing,
    connection::{Connection, Failed, Owned},
};
use crate::{
    client::{
        ask::Ask,
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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// The connection to one service. Clones share it.
#[derive(Clone)]
pub(super) struct Origin(Arc<Shared>);

struct Shared {
    config: Config,
    dialer: Arc<Dialer>,
    last: Mutex<Option<Dial>>,
    /// The task of a dial that is under way.
    dialling: Owned,
}

/// A connection that is there, is being made or could not be, for all who need it.
struct Dial {
    outcome: watch::Receiver<Outcome>,
    used: Instant,
}

/// What came of a dial, once it is over.
type Outcome = Option<Result<Connection, Arc<io::Error>>>;

impl Dial {
    /// Whether a call can be made over it, as far as is known.
    fn is_usable(&self, idle_timeout: Duration) -> bool {
        // Looked at first: an outcome is there before its dial is over, unless somebody ended that.
        let is_over = self.outcome.is_closed();
        match &*self.outcome.borrow() {
            None => !is_over,
            Some(Ok(connection)) => {
                let rested = connection.is_idle() && self.used.elapsed() >= idle_timeout;
                connection.is_usable() && !rested
            }
            Some(Err(_)) => false,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(&*self.outcome.borrow(), Some(Ok(connection)) if connection.is_idle())
    }
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
        let dialer = Arc::new(Dialer::new(config, Some(b"h2"))?);
        let (config, last, dialling) = (config.clone(), Mutex::default(), Owned::default());
        Ok(Self(Arc::new(Shared { config, dialer, last, dialling })))
    }

    /// How many connections carry nothing.
    pub(super) fn idle(&self) -> usize {
        usize::from(self.0.last().as_ref().is_some_and(Dial::is_idle))
    }

    /// Makes one try of a call of one message.
    pub(super) async fn attempt(self, ask: Ask) -> Result<Answer, Error> {
        let mut answer = self.0.attempt(&ask).await?;
        let tries = Tries::of(&ask.cx, &answer.head.headers);
        answer.head.extensions.insert(tries);
        Ok(answer)
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

impl Shared {
    async fn attempt(&self, ask: &Ask) -> Result<Answer, Error> {
        let limit = Limit::new(&ask.cx, self.config.try_timeout);
        let request = ask.request(&limit, propagate_grpc).map_err(Error::NotSent)?;
        let (response, connection) = self.send(request.map(outgoing), &limit).await?;
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
        match limit.hold(dialled(self.dial())).await {
            Ok(dialled) => dialled.map_err(NotSent::Connect),
            Err(Cut::Try) => Err(NotSent::Connect(io::ErrorKind::TimedOut.into())),
            Err(Cut::Ended(cause)) => Err(NotSent::Ended(cause)),
        }
    }

    /// The dial there is, or a new one in its place.
    fn dial(&self) -> watch::Receiver<Outcome> {
        let mut last = self.last();
        if let Some(dial) = last.as_mut().filter(|dial| dial.is_usable(self.config.idle_timeout)) {
            dial.used = Instant::now();
            return dial.outcome.clone();
        }
        let outcome = self.begin();
        // Those whose calls the connection before carries have clones of it.
        *last = Some(Dial { outcome: outcome.clone(), used: Instant::now() });
        outcome
    }

    /// Dials in a task of the channel's own, so that it does not end with the call that needed it first.
    fn begin(&self) -> watch::Receiver<Outcome> {
        let (tell, outcome) = watch::channel(None);
        let (dialer, time) = (Arc::clone(&self.dialer), self.config.connect_timeout);
        self.dialling.0.spawn("dial of gRPC", async move {
            let dial = async { Connection::begin(dialer.dial().await?).await };
            let made = timeout(time, dial).await;
            let made = made.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()));
            tell.send_replace(Some(made.map_err(Arc::new)));
        });
        outcome
    }

    fn last(&self) -> MutexGuard<'_, Option<Dial>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the connection of a dial; its one error is that of all who wait.
async fn dialled(mut outcome: watch::Receiver<Outcome>) -> io::Result<Connection> {
    let outcome = outcome.wait_for(Option::is_some).await;
    match outcome.as_deref() {
        Ok(Some(Ok(connection))) => Ok(connection.clone()),
        Ok(Some(Err(error))) => Err(io::Error::new(error.kind(), Arc::clone(error))),
        Ok(None) | Err(_) => Err(io::Error::other("the dial was given up")),
    }
}
