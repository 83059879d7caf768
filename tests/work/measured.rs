//! What a worker counts of its tracks.

use super::{Class, PLAIN, Service, databases, song, working};
use loopmaster::{queue, telemetry};
use std::sync::atomic::Ordering;

/// The collector is the process's: others count in it, too, so that only what is there is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn tracks_are_counted_by_how_they_end_and_where_their_time_goes() {
    telemetry::collect();
    for test in databases().await {
        let service = Service::new(&test);
        service.files.failing.store(1, Ordering::Relaxed);
        let good = service.order("usr_1", "a.wav", &song(2.0), Class::Interactive, PLAIN).await;
        let bad = service.order("usr_1", "b.wav", b"no music at all", Class::Bulk, PLAIN).await;
        working(service.config(), service.services(), async {
            service.settled(&[good.clone(), bad.clone()], 60).await;
            // It said what it renders on, for those who scale workers.
            let text = "SELECT device FROM workers";
            let device: Vec<String> = sqlx::query_scalar(text).fetch_all(service.db.read()).await.unwrap();
            assert_eq!(device, ["cpu"]);
        })
        .await;
        assert_eq!((service.state(&good).await.as_str(), service.state(&bad).await.as_str()), ("done", "failed"));
        assert!(queue::depth(&service.db).await.unwrap().is_empty());
        let told = telemetry::rendered();
        for there in [
            "loopmaster_tracks_total{outcome=\"done\",code=\"\"}",
            "loopmaster_tracks_total{outcome=\"failed\",code=\"decode.",
            "loopmaster_jobs_dead_total{kind=\"master\",code=\"decode.",
            "loopmaster_jobs_retried_total{kind=\"master\",code=\"work.storage\"}",
            "loopmaster_queue_wait_seconds_bucket{class=\"bulk\",le=\"14400\"}",
            "loopmaster_stage_seconds_count{stage=\"decode\"}",
            "loopmaster_stage_seconds_count{stage=\"render\"}",
            "loopmaster_stage_seconds_bucket{stage=\"deliver\",le=\"3600\"}",
            "loopmaster_database_seconds_count{operation=\"begin\"}",
        ] {
            assert!(told.contains(there), "{}: {there}: {told}", test.name());
        }
    }
}
