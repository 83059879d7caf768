//! The database: SQLite embedded, PostgreSQL for a cluster, one SQL text for both.
//!
//! What the two and `sqlx::Any` agree on: placeholders `$1`, `ON CONFLICT`, `RETURNING`, BIGINT, DOUBLE PRECISION, TEXT. What to mind:
//! - an optional real is bound through [`real`]: `Any` binds its NULL with another type than its value, and PostgreSQL keeps the
//!   type of the first;
//! - `SUM` of BIGINT is NUMERIC on PostgreSQL: `CAST(SUM(x) AS BIGINT)`;
//! - time comes from [`Db::now_sql`], never from the clock of the process.

mod changes;
pub mod objects;
mod schema;
mod writer;

pub use changes::{Change, Changes};
pub use schema::Schema;

use crate::digest::{hex, sha256};
use crate::measure::{self, Run};
use crate::secrets::redacted;
use rand::RngExt;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Transaction};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use writer::{Held, Writer};

pub use writer::Purged;

/// Connections to PostgreSQL of one process, and readers of a SQLite file.
const CONNECTIONS: u32 = 16;
/// A connection that has rested this long may have died.
const RESTED: Duration = Duration::from_secs(1);
/// How long to wait for a connection, or for another process to let go of a SQLite file, before the answer is "try again".
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to read with.
pub type Reader = sqlx::pool::PoolConnection<Any>;

/// Which database it is, where the text has to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Dialect {
    /// The text of a statement: `{now}` is the database's clock in milliseconds since 1970, `{skip}` ends a SELECT of rows that
    /// others may be working on (SQLite has one writer, nothing to skip), `{lock}` one of rows that are about to be written.
    #[must_use]
    pub fn sql(self, text: &str) -> AssertSqlSafe<String> {
        let [skip, lock] = match self {
            Self::Sqlite => ["", ""],
            Self::Postgres => ["FOR UPDATE SKIP LOCKED", "FOR UPDATE"],
        };
        AssertSqlSafe(text.replace("{now}", self.now()).replace("{skip}", skip).replace("{lock}", lock))
    }

    const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }
}

/// What a database can answer instead of rows.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The address is no address of a database.
    #[error("{0}: not a database address; use sqlite:FILE or postgres://USER@HOST/NAME")]
    Address(String),
    /// The database did not do what was asked.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database: the schema cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is another version's.
    #[error("{0}")]
    Schema(Schema),
    /// The transaction ran beside others whose common commit failed.
    #[error("database: the commit failed: {0}")]
    Commit(Arc<str>),
}

impl From<sqlx::Error> for DbError {
    /// Counted here, through which every failure of a statement goes. A row that is there already, or is not there, is an answer.
    fn from(error: sqlx::Error) -> Self {
        let answer = matches!(error, sqlx::Error::RowNotFound);
        let error = Self::Sql(error);
        if !(answer || error.is_duplicate()) {
            measure::database_failed(error.code());
        }
        error
    }
}

impl DbError {
    /// `database.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "database.address",
            Self::Migrate(_) => "database.migration",
            Self::Schema(_) => "database.schema",
            Self::Commit(_) => "database.commit",
            Self::Sql(_) if self.is_unavailable() => "database.unavailable",
            Self::Sql(_) => "database.failed",
        }
    }

    /// Whether waiting helps: the database is away, busy or full.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                // SQLITE_BUSY, LOCKED, IOERR, FULL, CANTOPEN with their extended codes; PostgreSQL's classes of shutdown, resources,
                // connections, serialisation.
                match code.parse::<u32>() {
                    Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 10 | 13 | 14),
                    _ => ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)),
                }
            }
            Self::Sql(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            Self::Commit(_) => true,
            Self::Address(_) | Self::Migrate(_) | Self::Schema(_) => false,
        }
    }

    /// Whether a row with this key is there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// What most calls here give.
pub type Result<T, E = DbError> = std::result::Result<T, E>;

/// A database. Clones share everything.
#[derive(Clone, Debug)]
pub struct Db {
    dialect: Dialect,
    pool: AnyPool,
    /// SQLite's one writer.
    writer: Option<Arc<Writer>>,
    changes: Changes,
}

impl Db {
    /// Connects to `sqlite:FILE` (made with its folder if it is not there) or `postgres://…`.
    pub async fn connect(url: &str) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let address = || DbError::Address(redacted(url));
        if let Some(rest) = url.strip_prefix("sqlite:") {
            let (file, _) = rest.split_once('?').unwrap_or((rest, ""));
            let file = file.strip_prefix("//").unwrap_or(file);
            if file.is_empty() || file == ":memory:" {
                return Err(address());
            }
            let path = std::path::Path::new(file);
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                loopmaster_private::make(folder).map_err(sqlx::Error::Io)?;
            }
            // SQLite gives its log and its index the mode of the file.
            loopmaster_private::file(path).map_err(sqlx::Error::Io)?;
            Self::sqlite(&format!("sqlite://{}?mode=rwc", escaped(file))).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::postgres(url, url.parse().map_err(|_| address())?).await
        } else {
            Err(address())
        }
    }

    async fn sqlite(url: &str) -> Result<Self> {
        let options: AnyConnectOptions = url.parse()?;
        let writer = Writer::open(&options).await?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            // A file does not go away between two queries.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(async move { writer::prepare(connection, true).await }))
            .connect_with(options)
            .await?;
        let changes = Changes::in_process();
        Ok(Self { dialect: Dialect::Sqlite, pool, writer: Some(Arc::new(writer)), changes })
    }

    async fn postgres(url: &str, options: AnyConnectOptions) -> Result<Self> {
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            // A connection that was busy a moment ago is not asked whether it lives: that would cost every transaction a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < RESTED || connection.ping().await.is_ok()) })
            })
            .connect_with(options)
            .await?;
        let changes = Changes::across(url, pool.clone()).await?;
        Ok(Self { dialect: Dialect::Postgres, pool, writer: None, changes })
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// One connection to read with, for several questions.
    pub async fn reader(&self) -> Result<Reader> {
        Ok(self.read().acquire().await?)
    }

    /// For reading. On SQLite these connections cannot write: whoever writes takes [`Db::begin`].
    #[must_use]
    pub fn read(&self) -> &AnyPool {
        &self.pool
    }

    /// The same as [`Db::read`].
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// A transaction that may write. On SQLite there is one at a time, and whoever holds it waits for nothing but the database.
    /// Without [`Tx::commit`] it leaves nothing.
    pub async fn begin(&self) -> Result<Tx> {
        let asked = Instant::now();
        let inner = match &self.writer {
            Some(writer) => Inner::Sqlite(writer.begin().await?),
            None => Inner::Postgres(self.pool.begin().await?),
        };
        measure::database("begin", asked.elapsed());
        let began = Instant::now();
        Ok(Tx { inner, changes: self.changes.clone(), told: Vec::new(), counted: Vec::new(), began })
    }

    /// The database's clock: an SQL expression in milliseconds since 1970.
    #[must_use]
    pub fn now_sql(&self) -> &'static str {
        self.dialect.now()
    }

    /// [`Dialect::sql`]
    #[must_use]
    pub fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        self.dialect.sql(text)
    }

    /// The database's clock: a server is asked; a file has no other clock than this machine's.
    pub async fn now(&self) -> Result<i64> {
        if self.dialect == Dialect::Sqlite {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        }
        Ok(sqlx::query_scalar(self.sql("SELECT {now}")).fetch_one(&self.pool).await?)
    }

    /// After a purge: leaves none of what was deleted in the files of SQLite, neither in the log of writes nor in unused parts of
    /// pages. A server keeps its own files: there it is the operator's VACUUM.
    pub async fn scrub(&self, purged: Purged) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.scrub(purged).await,
            None => Ok(()),
        }
    }

    /// Says that what `owner` sees has changed; [`bump_version`] says it by itself when its transaction is committed.
    pub fn changed(&self, owner: &str) {
        self.changes.tell(vec![Change::Owner(owner.into())]);
    }

    /// Says that there are jobs to be had.
    pub fn wake(&self) {
        self.changes.tell(vec![Change::Jobs]);
    }

    /// Everything that changes from now on. Who falls behind gets `Lagged` and looks at the rows.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Closes every connection to read with, and empties SQLite's log of writes into its file.
    pub async fn close(&self) {
        self.pool.close().await;
        if let Some(writer) = &self.writer
            && let Err(error) = writer.scrub(Purged::Rows).await
        {
            tracing::warn!(%error, "the log of the database could not be emptied; the next start does it");
        }
    }
}

/// A transaction; goes wherever an executor is wanted as `&mut *tx`.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    changes: Changes,
    told: Vec<Change>,
    counted: Vec<Run>,
    began: Instant,
}

#[derive(Debug)]
enum Inner {
    Sqlite(Held),
    Postgres(Transaction<'static, Any>),
}

impl Tx {
    /// Makes it so, on disk, and then tells those who wait.
    pub async fn commit(self) -> Result<()> {
        let committed = match self.inner {
            Inner::Sqlite(held) => held.commit().await,
            Inner::Postgres(transaction) => transaction.commit().await.map_err(DbError::from),
        };
        if let Err(error @ DbError::Commit(_)) = &committed {
            measure::database_failed(error.code());
        }
        committed?;
        measure::database("transaction", self.began.elapsed());
        self.counted.iter().for_each(Run::count);
        self.changes.tell(self.told);
        Ok(())
    }

    /// Leaves nothing.
    pub async fn rollback(self) -> Result<()> {
        match self.inner {
            Inner::Sqlite(held) => held.rollback().await,
            Inner::Postgres(transaction) => Ok(transaction.rollback().await?),
        }
    }

    /// The database's clock, within this transaction.
    pub async fn now(&mut self) -> Result<i64> {
        let text = self.sql("SELECT {now}");
        Ok(sqlx::query_scalar(text).fetch_one(&mut **self).await?)
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// [`Dialect::sql`]
    #[must_use]
    pub fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        self.dialect().sql(text)
    }

    /// To be counted when this is committed.
    pub fn count(&mut self, run: Run) {
        self.counted.push(run);
    }

    /// To be told when this is committed.
    pub fn tell(&mut self, change: Change) {
        if !self.told.contains(&change) {
            self.told.push(change);
        }
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.inner {
            Inner::Sqlite(held) => held.connection(),
            Inner::Postgres(transaction) => transaction,
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inner::Sqlite(held) => held.connection_mut(),
            Inner::Postgres(transaction) => transaction,
        }
    }
}

/// The next version of what `owner` sees. The row stays locked until the transaction ends, so that versions become visible in
/// their order; then those who listen are told. Comes last in a transaction, after what is said about jobs: all lock in one order.
pub async fn bump_version(tx: &mut Tx, owner: &str) -> Result<i64> {
    let text = "INSERT INTO versions (owner, version) VALUES ($1, 1)
        ON CONFLICT (owner) DO UPDATE SET version = versions.version + 1 RETURNING version";
    let version = sqlx::query_scalar(text).bind(owner).fetch_one(&mut **tx).await?;
    tx.tell(Change::Owner(owner.into()));
    Ok(version)
}

/// Forgets the version of an owner that is gone.
pub async fn forget_version(tx: &mut Tx, owner: &str) -> Result<()> {
    sqlx::query("DELETE FROM versions WHERE owner = $1").bind(owner).execute(&mut **tx).await?;
    Ok(())
}

/// A new id: `<prefix>_<UUID version 7>`, so that ids sort by their age.
#[must_use]
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// A secret of 256 bits to be given away: `<prefix>_<hex>`. Only its [`hash_secret`] is kept.
#[must_use]
pub fn new_secret(prefix: &str) -> String {
    let bytes: [u8; 32] = rand::rng().random();
    format!("{prefix}_{}", hex(&bytes))
}

/// What is kept of a secret: SHA-256 in hex.
#[must_use]
pub fn hash_secret(secret: &str) -> String {
    sha256(secret.as_bytes())
}

/// An optional real, to be bound to `CAST($n AS DOUBLE PRECISION)`.
#[must_use]
pub fn real(value: Option<f64>) -> Option<String> {
    value.filter(|value| value.is_finite()).map(|value| format!("{value:?}"))
}

/// A file name inside an address.
fn escaped(file: &str) -> String {
    let special = |c: char| matches!(c, '%' | '?' | '#' | ' ' | '"' | '<' | '>' | '`' | '{' | '}') || c.is_control();
    let escape = |c: char| {
        let mut utf8 = [0; 4];
        c.encode_utf8(&mut utf8).bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
    };
    file.chars().map(|c| if special(c) { escape(c) } else { c.to_string() }).collect()
}

async fn run(connection: &mut AnyConnection, text: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::query(text)).await.map(drop)
}
