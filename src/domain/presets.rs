//! Settings that an account keeps under a name. The only module that writes the table.

use super::error::{Error, Kind, Result};
use super::identity::Caller;
use super::limits::Rule;
use super::settings;
use crate::config::Config;
use crate::db::{Db, Tx};
use crate::timestamp;
use loopmaster_core::Settings;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

/// Presets of one account.
pub const MOST_PRESETS: i64 = 100;
/// Longest name, in characters.
pub const LONGEST_NAME: usize = 64;
/// Largest settings of one preset, bytes of JSON.
pub const LARGEST: usize = 32 << 10;
/// What settings mean today. A setting that is new and has a default is no new version; one that goes or means something else is, and
/// [`brought_up`] says what becomes of those saved before.
const VERSION: i64 = 1;

/// Settings under a name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Preset {
    /// Its name in the account.
    pub name: String,
    /// What it stands for, as it was saved.
    #[schema(value_type = settings::SettingsSchema)]
    pub settings: Value,
    /// Why it cannot be used any more; it has to be saved again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outdated: Option<String>,
    /// When it was first saved.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// When it was last saved.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: i64,
}

impl Preset {
    fn of(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let text: String = row.try_get("settings")?;
        let (settings, outdated) = match brought_up(row.try_get("version")?, &text) {
            Ok(settings) => (serde_json::to_value(settings).unwrap_or_default(), None),
            Err(why) => (serde_json::from_str(&text).unwrap_or_default(), Some(why)),
        };
        Ok(Self {
            name: row.try_get("name")?,
            settings,
            outdated,
            created_at: row.try_get("created_at")?,
            changed_at: row.try_get("changed_at")?,
        })
    }
}

/// Saved settings as they are meant today, or why that cannot be told.
fn brought_up(version: i64, text: &str) -> Result<Settings, String> {
    if version != VERSION {
        return Err(format!("it was saved as version {version} and this service reads version {VERSION}"));
    }
    let settings: Settings =
        serde_json::from_str(text).map_err(|error| format!("it cannot be read any more: {error}"))?;
    settings::validate(&settings).map_err(|error| error.detail().to_owned())?;
    Ok(settings)
}

/// Letters, digits, spaces, dots, lines below and hyphens; the first one a letter or a digit.
fn named(name: &str) -> Result<&str> {
    let known = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
    let whole = name.starts_with(char::is_alphanumeric)
        && !name.ends_with(' ')
        && name.chars().all(known)
        && name.chars().count() <= LONGEST_NAME;
    if whole {
        return Ok(name);
    }
    Err(Error::invalid(
        "preset.name",
        format!(
            "a preset is called by 1 to {LONGEST_NAME} letters, digits, spaces, dots, _ or -, beginning with a letter or a digit"
        ),
    ))
}

const COLUMNS: &str = "name, version, settings, created_at, changed_at";

/// All presets of an account, by name.
pub async fn list(db: &Db, user: &str) -> Result<Vec<Preset>> {
    let text = db.sql(&format!("SELECT {COLUMNS} FROM presets WHERE user_id = $1 ORDER BY name"));
    let rows = sqlx::query(text).bind(user).fetch_all(db.read()).await?;
    Ok(rows.iter().map(Preset::of).collect::<Result<_, _>>()?)
}

/// One preset of an account.
pub async fn find(db: &Db, user: &str, name: &str) -> Result<Preset> {
    let text = db.sql(&format!("SELECT {COLUMNS} FROM presets WHERE user_id = $1 AND name = $2"));
    let row = sqlx::query(text).bind(user).bind(name).fetch_optional(db.read()).await?;
    let missing = || {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        Error::new(
            Kind::NotFound,
            "preset.not_found",
            format!("there is no preset “{name}”; GET /v1/presets lists them"),
        )
    };
    row.map(|row| Preset::of(&row)).transpose()?.ok_or_else(missing)
}

/// Saves settings under a name, in the place of what was there.
pub async fn put(
    db: &Db,
    config: &Config,
    caller: &Caller,
    user: &str,
    name: &str,
    settings: &Settings,
) -> Result<Preset> {
    let name = named(name)?;
    settings::validate(settings)?;
    let text = serde_json::to_string(settings).map_err(Error::internal)?;
    if text.len() > LARGEST {
        let detail = format!("the settings have {} bytes and a preset takes {LARGEST}; shorten its tags", text.len());
        return Err(Error::invalid("preset.too_large", detail));
    }
    let mut tx = db.begin().await?;
    let now = tx.now().await?;
    Rule::hourly("creates", config.limits.user.creates_an_hour).spend(&mut tx, caller.owner_key(), 1).await?;
    let others = "SELECT COUNT(*) FROM presets WHERE user_id = $1 AND name <> $2";
    let others: i64 = sqlx::query_scalar(others).bind(user).bind(name).fetch_one(&mut *tx).await?;
    if others >= MOST_PRESETS {
        let detail = format!("the account has {others} presets and the limit is {MOST_PRESETS}; delete one first");
        return Err(Error::conflict("preset.too_many", detail).with("limit", MOST_PRESETS));
    }
    sqlx::query(
        "INSERT INTO presets (user_id, name, version, settings, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT (user_id, name) DO UPDATE SET version = excluded.version, settings = excluded.settings, changed_at = excluded.changed_at",
    )
    .bind(user)
    .bind(name)
    .bind(VERSION)
    .bind(&text)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    find(db, user, name).await
}

/// Removes a preset. What was ordered with it stays as it is.
pub async fn remove(db: &Db, user: &str, name: &str) -> Result<()> {
    find(db, user, name).await?;
    let mut tx = db.begin().await?;
    let text = "DELETE FROM presets WHERE user_id = $1 AND name = $2";
    sqlx::query(text).bind(user).bind(name).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes all presets of an account.
pub async fn delete_all(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM presets WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}

/// Settings as they were asked for: what is not named is known to be so, because a preset stands below.
#[derive(Clone, Debug, Default)]
pub struct Wished(Map<String, Value>);

impl<'de> Deserialize<'de> for Wished {
    fn deserialize<D: Deserializer<'de>>(value: D) -> std::result::Result<Self, D::Error> {
        let wished = Map::deserialize(value)?;
        // Refused in the same words, whether a preset is named or not.
        serde_json::from_value::<Settings>(Value::Object(wished.clone()))
            .map_err(<D::Error as serde::de::Error>::custom)?;
        Ok(Self(wished))
    }
}

/// Settings whose parts are replaced one by one.
const IN_PARTS: [&str; 4] = ["strength", "edit", "reference", "tags"];

impl Wished {
    /// Over a preset of whoever asks, where one is named.
    pub async fn over(self, db: &Db, user: Option<&str>, preset: Option<&str>) -> Result<Settings> {
        let mut whole = match preset {
            None => Map::new(),
            Some(name) => {
                let user = user.ok_or_else(|| {
                    Error::unauthorized(
                        "auth.sign_in_required",
                        "presets are kept in an account; sign in, or send the settings",
                    )
                })?;
                let preset = find(db, user, name).await?;
                if let Some(why) = preset.outdated {
                    let detail = format!("the preset “{}” has to be saved again: {why}", preset.name);
                    return Err(Error::conflict("preset.outdated", detail));
                }
                match preset.settings {
                    Value::Object(settings) => settings,
                    _ => Map::new(),
                }
            }
        };
        for (name, value) in self.0 {
            match (whole.get_mut(&name), value) {
                (Some(Value::Object(below)), Value::Object(over)) if IN_PARTS.contains(&name.as_str()) => {
                    below.extend(over);
                }
                (_, value) => {
                    whole.insert(name, value);
                }
            }
        }
        serde_json::from_value(Value::Object(whole)).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_typed_and_stand_in_an_address() {
        for name in ["a", "Club loud", "12-inch_v1.2", "Дорога", "x".repeat(64).as_str()] {
            assert_eq!(named(name).unwrap(), name);
        }
        for name in ["", " a", "a ", ".", "..", "a/b", "a\nb", "-a", "x".repeat(65).as_str(), "a%2f", "“a”"] {
            assert_eq!(named(name).unwrap_err().code(), "preset.name", "{name}");
        }
    }

    #[test]
    fn what_was_saved_before_is_brought_up_or_refused() {
        let settings = brought_up(VERSION, r#"{"style":"warm"}"#).unwrap();
        assert_eq!(settings, serde_json::from_str(r#"{"style":"warm"}"#).unwrap());
        for (version, text, why) in [
            (VERSION + 1, "{}", "version 2"),
            (VERSION, r#"{"stile":"warm"}"#, "unknown field `stile`"),
            (VERSION, r#"{"loudness":{"destination":"myspace"}}"#, "`myspace` is not known"),
            (VERSION, "", "cannot be read"),
        ] {
            let told = brought_up(version, text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
