//! A schema that moves on under a worker.

use super::{Class, PLAIN, Service, databases, song, working};
use crate::databases::later;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn on_a_newer_schema_what_is_held_is_finished_and_nothing_claimed() {
    for test in databases().await {
        let service = Service::new(&test);
        service.files.masters_wait.store(true, Ordering::Relaxed);
        let held = service.order("usr_1", "a.wav", &song(2.0), Class::Interactive, PLAIN).await;
        working(service.config(), service.services(), async {
            while service.state(&held).await != "running" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            later(&service.db).await;
            // The schema is looked at once a second.
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            let next = service.order("usr_1", "b.wav", &song(2.0), Class::Interactive, PLAIN).await;
            service.files.masters_wait.store(false, Ordering::Relaxed);
            service.settled(std::slice::from_ref(&held), 60).await;
            assert_eq!(service.state(&held).await, "done", "{}", test.name());
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(service.state(&next).await, "waiting", "{}", test.name());

            // The upgrade is taken back.
            let mut tx = service.db.begin().await.unwrap();
            sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 999").execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
            service.settled(std::slice::from_ref(&next), 60).await;
            assert_eq!(service.state(&next).await, "done", "{}", test.name());
        })
        .await;
    }
}
