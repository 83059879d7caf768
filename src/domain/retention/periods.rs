//! The table of periods as the API and the command line show it. The table itself stands in [`loopmaster_core::retention`].

use super::HOUR;
use loopmaster_core::retention::{BROWSER, PERIODS, Retention};
use serde::Serialize;
use std::fmt::Write as _;

/// A row for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Period {
    /// Where it is kept: Service, Cookie, localStorage, sessionStorage or `IndexedDB`.
    pub place: &'static str,
    /// Its name in the browser; empty for what the service keeps.
    pub name: &'static str,
    /// What is kept.
    pub what: &'static str,
    /// Since when the time runs; empty where no time runs.
    pub since: &'static str,
    /// How long, rounded down; 0 where no time runs.
    pub hours: i64,
    /// How long, in words.
    pub kept: String,
}

/// The whole table with these settings: first what the service keeps, then what browsers keep.
#[must_use]
pub fn periods(retention: &Retention) -> Vec<Period> {
    let rows = PERIODS.iter().map(|period| ("", period));
    let rows = rows.chain(BROWSER.iter().map(|period| (period.names.first().copied().unwrap_or_default(), period)));
    rows.map(|(name, period)| Period {
        place: period.place.name(),
        name,
        what: period.what,
        since: period.since(),
        hours: period.milliseconds(retention).unwrap_or(0) / HOUR,
        kept: period.text(retention),
    })
    .collect()
}

/// The table as the command line prints it.
#[must_use]
pub fn printed(retention: &Retention) -> String {
    let mut text = String::new();
    for Period { place, name, what, kept, .. } in periods(retention) {
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        let _ = writeln!(text, "{place}{name}: {what}\n    {kept}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_operator_has_set() {
        let retention = Retention { guest_days: 3, ..Retention::default() };
        let periods = periods(&retention);
        assert_eq!(periods[0].hours, 72);
        // Named in plain words since the table moved to the core.
        assert!(periods.iter().any(|period| period.what.starts_with("Daily keys for hashing") && period.hours == 48));
        assert!(periods.iter().all(|period| period.hours >= 0 && !period.what.is_empty() && !period.kept.is_empty()));
        let cookie = periods.iter().find(|period| period.name == "__Host-lm_guest").unwrap();
        assert_eq!((cookie.place, cookie.hours), ("Cookie", 72));
        assert!(printed(&retention).contains("Cookie __Host-lm_guest: "));
    }
}
