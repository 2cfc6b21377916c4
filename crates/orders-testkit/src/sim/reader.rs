//! Those who follow the feed, each from where it left off.

use std::{sync::Arc, time::Duration};

use orders::{
    Error,
    domain::Position,
    ports::{FeedPage, Page},
};
use tokio::time;

use super::{book::Feed, plan, process::Stage};

/// Request numbers of readers: not a client's.
const NOBODY: usize = usize::MAX;

/// Who sees nothing new, or is refused, looks ever more seldom, up to this.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Follows the feed until told to stop, then to its head.
pub(super) async fn follow(stage: Arc<Stage>, plan: plan::Reader) -> Feed {
    let mut feed = Feed { tenant: plan.tenant, seen: Vec::new(), gaps: Vec::new(), next: 0 };
    time::sleep(plan.starts).await;
    let mut pause = plan.pause;
    loop {
        // Looked at before the page is read: what was committed before the stop is then in it.
        let last_round = stage.ends();
        let page = Page { after: Some(Position(feed.next)), limit: plan.limit };
        let cx = stage.context(plan.tenant, 0, NOBODY);
        let read = stage.request(|orders| async move { orders.feed(&cx, page).await }).await;
        let at_head = match read {
            Some(Ok(page)) => take(&stage, &mut feed, page),
            Some(Err(Error::CursorTooOld { oldest })) => {
                feed.gaps.push((feed.next, oldest.0));
                feed.next = oldest.0 - 1;
                false
            }
            Some(Err(_)) | None => false,
        };
        let grew = feed.next != page.after.map_or(0, |after| after.0);
        pause = if grew { plan.pause } else { (pause * 2).min(LONGEST_PAUSE) };
        match (at_head, last_round) {
            (true, true) => return feed,
            (false, _) if grew => time::sleep(Duration::from_millis(1)).await,
            _ => time::sleep(pause).await,
        }
    }
}

fn take(stage: &Stage, feed: &mut Feed, page: FeedPage) -> bool {
    let FeedPage { events, next, head } = page;
    let mut book = stage.book();
    book.mix(next.0);
    let mut last = feed.next;
    for event in &events {
        if event.position.0 <= last {
            let tenant = feed.tenant;
            book.violation(format!("feed {tenant}: {} came after {last}", event.position));
        }
        last = event.position.0;
    }
    if next.0 < last || next > head {
        book.violation(format!("feed: a page ends at {next}, its last is {last}, head {head}"));
    }
    drop(book);
    feed.seen.extend(events);
    feed.next = next.0.max(feed.next);
    next >= head
}
