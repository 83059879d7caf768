//! Songs of an album wait for each other, and for nobody who does not come.

use super::{Service, working};
use crate::cli::{music, wav};
use crate::databases::{databases, sqlite};
use loopmaster::queue::Class;
use sqlx::Row;
use std::time::{Duration, Instant};

const SETTINGS: &str = r#"{"loudness":{"lufs":-16.0},"formats":["wav24"]}"#;

fn song(gain: f32) -> Vec<u8> {
    wav(&music(44_100, 6.0, gain), 44_100, true)
}

/// Puts masters into an album, in their order, of which `announced` songs were promised at `created` ms.
async fn bind(service: &Service, album: &str, masters: &[String], announced: i64, created: i64) {
    let text =
        "INSERT INTO batches (id, owner, name, album, announced, created_at) VALUES ($1, 'usr_1', 'Album', 1, $2, $3)
        ON CONFLICT (id) DO NOTHING";
    let query = sqlx::query(text).bind(album).bind(announced).bind(created);
    let mut tx = service.db.begin().await.unwrap();
    query.execute(&mut *tx).await.unwrap();
    for (position, master) in masters.iter().enumerate() {
        let text = "UPDATE masters SET batch_id = $2, batch_position = $3 WHERE id = $1";
        sqlx::query(text).bind(master).bind(album).bind(position as i64).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn ordered(service: &Service, gains: &[f32]) -> Vec<String> {
    let mut masters = Vec::new();
    for (index, gain) in gains.iter().enumerate() {
        let name = format!("{index}.wav");
        masters.push(service.order("usr_1", &name, &song(*gain), Class::Interactive, SETTINGS).await);
    }
    masters
}

/// Loudness of a master, and the hash of its first file.
async fn told(service: &Service, master: &str) -> (f64, String) {
    let row = service.row(master).await;
    assert_eq!(row.get::<&str, _>("state"), "done");
    let text = "SELECT sha256 FROM artifacts WHERE master_id = $1 AND kind = 'master' ORDER BY role";
    let sha = sqlx::query_scalar(text).bind(master).fetch_one(service.db.read()).await.unwrap();
    (row.get("lufs"), sha)
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_of_an_album_are_seated_whoever_is_done_first() {
    for test in databases().await {
        let mut bytes: Vec<Vec<String>> = Vec::new();
        for tracks in [1, 4] {
            let service = Service::new(&test);
            let masters = ordered(&service, &[0.25, 0.5, 0.4]).await;
            bind(&service, &format!("bat_{tracks}"), &masters, 3, 0).await;
            let config = loopmaster::work::WorkConfig { tracks, ..service.config() };
            working(config, service.services(), service.settled(&masters, 120)).await;
            let mut hashes = Vec::new();
            let mut loudness = Vec::new();
            for master in &masters {
                let (lufs, sha) = told(&service, master).await;
                hashes.push(sha);
                loudness.push(lufs);
            }
            println!("{}, {tracks} at a time: {loudness:.2?}", test.name());
            // The mixes are the same music at −6, 0 and −1.9 dB: half of that, 2 LU at most, is what stays.
            for (lufs, below) in loudness.iter().zip([-2.0, 0.0, -1.0]) {
                assert!((lufs - loudness[1] - below).abs() <= 0.1, "{loudness:?}");
            }
            bytes.push(hashes);
        }
        assert_eq!(bytes[0], bytes[1], "{}: the bytes depend on how many songs are made at a time", test.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_waits_for_a_song_that_is_on_its_way_and_not_for_one_that_fails() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let mut masters = ordered(&service, &[0.25, 0.5]).await;
    masters.push(service.order("usr_1", "broken.wav", b"RIFF, they say", Class::Interactive, SETTINGS).await);
    let now: i64 = service.db.begin().await.unwrap().now().await.unwrap();
    // Four were promised a moment ago.
    bind(&service, "bat_1", &masters, 4, now).await;
    working(service.config(), service.services(), async {
        let heard = "SELECT COUNT(*) FROM masters WHERE song IS NOT NULL AND state = 'waiting'";
        let until = Instant::now() + Duration::from_mins(1);
        while sqlx::query_scalar::<_, i64>(heard).fetch_one(service.db.read()).await.unwrap() < 2 {
            assert!(Instant::now() < until, "both were to be heard, and to wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service.settled(&masters[2..], 60).await;
        assert_eq!(service.state(&masters[2]).await, "failed");
        assert_eq!(service.state(&masters[0]).await, "waiting");

        let last = ordered(&service, &[1.0]).await;
        let text = "UPDATE masters SET batch_id = 'bat_1', batch_position = 3 WHERE id = $1";
        let mut tx = service.db.begin().await.unwrap();
        sqlx::query(text).bind(&last[0]).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let all = [&masters[..2], &last[..]].concat();
        service.settled(&all, 120).await;
        let mut loudness = Vec::new();
        for master in &all {
            loudness.push(told(&service, master).await.0);
        }
        println!("{loudness:.2?}");
        assert!((loudness[1] - loudness[2] + 2.0).abs() <= 0.1 && (loudness[0] - loudness[2] + 2.0).abs() <= 0.1);
    })
    .await;
    // A run that only waited is none that failed.
    for master in &masters[..2] {
        let text = "SELECT error_code FROM job_history WHERE subject = $1";
        let error: Option<String> = sqlx::query_scalar(text).bind(master).fetch_one(service.db.read()).await.unwrap();
        assert_eq!(error, None);
    }
}
