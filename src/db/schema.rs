//! The schema: its migrations, and how that of a database stands to the one of this program.

use super::{Db, DbError, Dialect, Result};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::fmt;

/// How the schema of a database stands to this program's. Schemas are numbered by their last migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The same.
    Own,
    /// A migration of this program is pending.
    Older {
        /// The database's; 0: none.
        there: i64,
        /// How many are pending.
        pending: usize,
    },
    /// A version of this program has been here that knows more migrations.
    Newer {
        /// The database's.
        there: i64,
    },
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, version) = (ours(), env!("CARGO_PKG_VERSION"));
        match self {
            Self::Own => write!(f, "schema {ours}"),
            Self::Older { there, .. } => write!(
                f,
                "the database has schema {there}, and this program ({version}) needs schema {ours}: run `loopmaster migrate` of this version"
            ),
            Self::Newer { there } => write!(
                f,
                "the database has schema {there}, and this program ({version}) knows none after schema {ours}: run the version that made it, \
                 or restore the backup from before"
            ),
        }
    }
}

impl Schema {
    fn of(applied: &[i64]) -> Self {
        let known = migrations();
        let there = applied.iter().copied().max().unwrap_or(0);
        // One that is not known may have changed anything, whatever else is pending.
        if applied.iter().any(|version| known.iter().all(|migration| migration.version != *version)) {
            return Self::Newer { there };
        }
        match known.iter().filter(|migration| !applied.contains(&migration.version)).count() {
            0 => Self::Own,
            pending => Self::Older { there, pending },
        }
    }
}

fn ours() -> i64 {
    migrations().last().map_or(0, |migration| migration.version)
}

impl Db {
    /// How the schema stands to this program's.
    pub async fn schema(&self) -> Result<Schema> {
        let there = match self.dialect {
            Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Dialect::Postgres => "SELECT COUNT(*) FROM pg_tables WHERE tablename = '_sqlx_migrations'",
        };
        let there: i64 = sqlx::query_scalar(there).fetch_one(&self.pool).await?;
        let applied: Vec<i64> = match there {
            0 => Vec::new(),
            _ => sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&self.pool).await?,
        };
        Ok(Schema::of(&applied))
    }

    /// Refuses a database whose schema is not this program's.
    pub async fn fits(&self) -> Result<()> {
        match self.schema().await? {
            Schema::Own => Ok(()),
            other => Err(DbError::Schema(other)),
        }
    }

    /// Brings the schema up to date, and says how many migrations that took. Several processes may try at once. A newer schema is
    /// refused and stays as it is.
    pub async fn migrate(&self) -> Result<usize> {
        let pending = match self.schema().await? {
            Schema::Own => 0,
            Schema::Older { pending, .. } => pending,
            newer @ Schema::Newer { .. } => return Err(DbError::Schema(newer)),
        };
        let migrator = Migrator::with_migrations(migrations());
        match &self.writer {
            Some(writer) => {
                writer.migrate(&migrator).await?;
                writer.first_rebuild().await?;
            }
            None => migrator.run(&self.pool).await?,
        }
        Ok(pending)
    }
}

fn migrations() -> Vec<Migration> {
    let one = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    vec![
        one(1, "service", include_str!("../../infra/migrations/0001_service.sql")),
        one(2, "sign-in next", include_str!("../../infra/migrations/0002_sign_in_next.sql")),
        one(3, "jobs ready", include_str!("../../infra/migrations/0003_jobs_ready.sql")),
        one(4, "jobs owner", include_str!("../../infra/migrations/0004_jobs_owner.sql")),
        one(5, "reserved", include_str!("../../infra/migrations/0005_reserved.sql")),
        one(6, "jobs waits", include_str!("../../infra/migrations/0006_jobs_waits.sql")),
        one(7, "workers", include_str!("../../infra/migrations/0007_workers.sql")),
        one(8, "privacy", include_str!("../../infra/migrations/0008_privacy.sql")),
        one(9, "tickets verified", include_str!("../../infra/migrations/0009_tickets_verified.sql")),
        one(10, "presets", include_str!("../../infra/migrations/0010_presets.sql")),
        one(11, "songs", include_str!("../../infra/migrations/0011_songs.sql")),
        one(12, "workers device", include_str!("../../infra/migrations/0012_workers_device.sql")),
        one(13, "nodes", include_str!("../../infra/migrations/0013_nodes.sql")),
        one(14, "fetched", include_str!("../../infra/migrations/0014_fetched.sql")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_older_newer_or_its_own() {
        let all: Vec<i64> = migrations().iter().map(|migration| migration.version).collect();
        let next = ours() + 1;
        assert_eq!(Schema::of(&all), Schema::Own);
        assert_eq!(Schema::of(&[]), Schema::Older { there: 0, pending: all.len() });
        assert_eq!(Schema::of(&all[..all.len() - 2]), Schema::Older { there: all[all.len() - 3], pending: 2 });
        assert_eq!(Schema::of(&[all.clone(), vec![next]].concat()), Schema::Newer { there: next });
        assert_eq!(Schema::of(&[next]), Schema::Newer { there: next }, "whatever else is pending");
        let said = Schema::Newer { there: next }.to_string();
        assert!(said.contains(&format!("schema {next}")) && said.contains(&format!("schema {}", ours())), "{said}");
        assert!(Schema::of(&[]).to_string().contains("run `loopmaster migrate`"));
    }
}
