//! A fresh SQLite file and a fresh PostgreSQL database for every test that wants them, and what both must do alike.

pub(crate) mod server;

use loopmaster::db::{Change, Db, Dialect, Schema, bump_version, real};
use server::Server;
use sqlx::Row;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A migrated database of one test.
pub(crate) struct TestDb {
    pub(crate) db: Db,
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl TestDb {
    /// Another connection pool to the same rows, as another process would have it.
    pub(crate) async fn again(&self) -> Db {
        Db::connect(&self.url).await.unwrap()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.db.dialect() {
            Dialect::Sqlite => "SQLite",
            Dialect::Postgres => "PostgreSQL",
        }
    }
}

/// One of each.
pub(crate) async fn databases() -> Vec<TestDb> {
    vec![sqlite().await, postgres().await]
}

pub(crate) async fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("loop master.db").display());
    let db = Db::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    TestDb { db, url, _folder: Some(folder) }
}

pub(crate) async fn postgres() -> TestDb {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let server = tokio::task::spawn_blocking(|| Server::shared(false)).await.unwrap();
    let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    let url = server.fresh(&name).await;
    let db = Db::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    TestDb { db, url, _folder: None }
}

/// What a version of later leaves in the book of migrations.
pub(crate) async fn later(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let text = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        SELECT 999, 'later', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(text).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_and_left_alone() {
    for test in databases().await {
        let db = &test.db;
        // One that is pending besides changes nothing about it.
        let mut tx = db.begin().await.unwrap();
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(db.schema().await.unwrap(), Schema::Older { pending: 1, .. }), "{}", test.name());
        later(db).await;
        assert_eq!(db.schema().await.unwrap(), Schema::Newer { there: 999 });
        let book = async || -> Vec<i64> {
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version")
                .fetch_all(db.read())
                .await
                .unwrap()
        };
        let before = book().await;
        for refused in [db.migrate().await.map(drop), db.fits().await] {
            let error = refused.unwrap_err();
            let said = error.to_string();
            assert_eq!(error.code(), "database.schema");
            assert!(said.contains("has schema 999") && said.contains("knows none after schema"), "{said}");
        }
        assert_eq!(book().await, before);
    }
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_comes_back() {
    for test in databases().await {
        let db = &test.db;
        assert_eq!(db.schema().await.unwrap(), Schema::Own, "{}", test.name());
        assert_eq!(db.migrate().await.unwrap(), 0);
        let mut tx = db.begin().await.unwrap();
        // A real that is missing first and there later, on one connection: what `Any` alone gets wrong on PostgreSQL.
        for (id, attempt, seconds) in [("a", 1_i64, None), ("b", i64::MAX, Some(1.0 / 3.0)), ("c", -1, Some(-0.5e-300))]
        {
            let insert = "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, part_bytes,
                created_at, updated_at) VALUES ($1, 'o', 'o', 'ü\u{1F3B5}', '', $2, '', 'stored', '', 0, 0, 0)";
            sqlx::query(insert).bind(id).bind(attempt).execute(&mut *tx).await.unwrap();
            let insert = "INSERT INTO masters (id, owner, upload_id, title, settings, state, stage, attempt, seconds, created_at, expires_at,
                version) VALUES ($1, 'o', $1, '', '{}', 'waiting', $2, $3, CAST($4 AS DOUBLE PRECISION), 0, $5, 1)";
            let query = sqlx::query(insert).bind(id).bind(seconds.map(|_| "decode")).bind(attempt).bind(real(seconds));
            query.bind(seconds.map(|_| 7_i64)).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        let rows = sqlx::query("SELECT seconds, stage, attempt, expires_at FROM masters ORDER BY id")
            .fetch_all(db.read())
            .await
            .unwrap();
        let seconds: Vec<Option<f64>> = rows.iter().map(|row| row.get("seconds")).collect();
        assert_eq!(seconds, [None, Some(1.0 / 3.0), Some(-0.5e-300)], "{}", test.name());
        assert_eq!(rows[0].get::<Option<String>, _>("stage"), None);
        assert_eq!(rows[1].get::<Option<i64>, _>("expires_at"), Some(7));
        assert_eq!(rows[1].get::<i64, _>("attempt"), i64::MAX);
        let name: String =
            sqlx::query_scalar("SELECT name FROM uploads WHERE id = 'a'").fetch_one(db.read()).await.unwrap();
        assert_eq!(name, "ü\u{1F3B5}");

        let wall = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let now = db.now().await.unwrap();
        assert!((now - wall).abs() < 5_000, "{}: {now} beside {wall}", test.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_count_up_without_gaps_or_twins() {
    for test in databases().await {
        let mut heard = test.db.subscribe();
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let db = test.db.clone();
                tokio::spawn(async move {
                    let mut tx = db.begin().await.unwrap();
                    let version = bump_version(&mut tx, "usr_1").await.unwrap();
                    if n % 4 == 0 {
                        // One that is dropped and one that is rolled back leave no trace.
                        if n % 8 == 0 {
                            drop(tx);
                        } else {
                            tx.rollback().await.unwrap();
                        }
                        return None;
                    }
                    tx.commit().await.unwrap();
                    Some(version)
                })
            })
            .collect();
        let mut versions = Vec::new();
        for task in tasks {
            versions.extend(task.await.unwrap());
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=30).collect::<Vec<i64>>(), "{}", test.name());
        let mut told = 0;
        while let Ok(change) = heard.try_recv() {
            assert_eq!(change, Change::Owner("usr_1".into()));
            told += 1;
        }
        assert_eq!(told, 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_seen_by_everybody_and_an_unfinished_one_by_nobody() {
    for test in databases().await {
        let other = test.again().await;
        let count = async |db: &Db| -> i64 {
            sqlx::query_scalar("SELECT COUNT(*) FROM guests").fetch_one(db.read()).await.unwrap()
        };
        let insert = "INSERT INTO guests (id, created_at) VALUES ($1, 0)";
        let mut tx = test.db.begin().await.unwrap();
        sqlx::query(insert).bind("gst_1").execute(&mut *tx).await.unwrap();
        assert_eq!(count(&other).await, 0, "{}", test.name());
        tx.commit().await.unwrap();
        assert_eq!(count(&other).await, 1);

        // A failed statement spoils its own transaction only; the neighbours that commit beside it are whole.
        let tasks: Vec<_> = (0..30)
            .map(|n| {
                let db = test.db.clone();
                tokio::spawn(async move {
                    let mut tx = db.begin().await.unwrap();
                    let id = if n % 3 == 0 { "gst_1".to_owned() } else { format!("gst_x{n}") };
                    match sqlx::query(insert).bind(id).execute(&mut *tx).await {
                        Ok(_) => tx.commit().await.unwrap(),
                        Err(error) => {
                            assert!(loopmaster::db::DbError::from(error).is_duplicate());
                            drop(tx);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(count(&other).await, 21, "{}", test.name());
        if test.db.dialect() == Dialect::Sqlite {
            assert!(sqlx::query(insert).bind("gst_2").execute(test.db.read()).await.is_err(), "a reader writes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_other_processes() {
    let test = postgres().await;
    let other = test.again().await;
    let mut heard = other.subscribe();
    test.db.changed("usr_7");
    test.db.wake();
    for _ in 0..3 {
        test.db.changed("usr_8");
    }
    let mut all = Vec::new();
    while all.len() < 3 {
        all.push(tokio::time::timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap());
    }
    assert_eq!(all, [Change::Owner("usr_7".into()), Change::Jobs, Change::Owner("usr_8".into())]);

    // One that is cut off says so and hears again.
    let kill = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    let cut: i64 = sqlx::query_scalar(kill).fetch_one(test.db.read()).await.unwrap();
    assert!(cut >= 1);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap(), Change::Unknown);
    tokio::time::sleep(Duration::from_millis(200)).await;
    test.db.changed("usr_9");
    let after = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap();
    assert_eq!(after, Change::Owner("usr_9".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses() {
    for (bad, shown) in [("mysql://x:secret@y/z", "mysql://…@y/z"), ("sqlite::memory:", "sqlite::memory:"), ("", "")]
    {
        let error = Db::connect(bad).await.unwrap_err();
        assert_eq!(error.code(), "database.address");
        assert!(error.to_string().starts_with(shown), "{error}");
    }
    let away = Db::connect("postgres://loopmaster@127.0.0.1:1/x").await.unwrap_err();
    assert!(away.is_unavailable(), "{away}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a new/folder#1/50% ü?.db");
    // What would begin the parameters of an address is none of the file's name.
    let db = Arc::new(Db::connect(&format!("sqlite:{}", file.display())).await.unwrap());
    db.migrate().await.unwrap();
    assert!(exists(&folder.path().join("a new/folder#1/50% ü")));
}
