//! A leader that is cut off is read from, all the while the others go on writing (covers H37). What it answers before
//! it notices must be true; once the others have gone on, it must refuse.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::cluster::client::Freshness;
use crate::cluster::handle::{Cluster, Session};
use crate::cluster::scenarios::Playing;

/// How long a reader of the old leader waits.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let leader = cluster.leader().await?;
        let others = cluster.majority_without(leader);
        if others.is_empty() {
            return Ok(());
        }
        cluster.isolate(leader).await;
        let stop = Rc::new(Cell::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| tokio::task::spawn_local(read_on(cluster.session(), leader, stop.clone())))
            .collect();
        cluster.leader_among(&others).await?;
        cluster.write_through(&others, 20).await?;

        // The others have acknowledged writes without it: it cannot know that it is up to date.
        let mut session = cluster.session();
        session.set_timeout(READ_TIMEOUT);
        for _ in 0..5 {
            if let Some(found) = session.get(leader, Freshness::Linearizable).await {
                return Err(format!("a leader cut off from all others served {found:?} as fresh"));
            }
            cluster.count("reads refused by a cut-off leader");
        }
        cluster.heal().await;
        stop.set(true);
        for reader in readers {
            // A panic in it has ended the run already.
            let _ = reader.await;
        }
        cluster.ready(leader).await
    })
}

async fn read_on(mut session: Session, node: u64, stop: Rc<Cell<bool>>) {
    session.set_timeout(READ_TIMEOUT);
    while !stop.get() {
        // The oracle judges what it finds.
        drop(session.get(node, Freshness::Linearizable).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
