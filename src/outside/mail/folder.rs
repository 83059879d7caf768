//! The folder that takes the place of a mail server, and what is removed from it.

use crate::config::Config;
use std::time::Duration;

/// How long letters stay in the folder that takes the place of a mail server.
pub const FOLDER_KEPT: Duration = Duration::from_hours(7 * 24);

/// Removes letters from the folder that takes the place of a mail server: those that have had their time, or all that are to or from
/// an address. Gives how many; with a mail server there are none.
pub async fn sweep_folder(config: &Config, address: Option<&str>) -> u64 {
    if !config.mail.smtp.is_empty() {
        return 0;
    }
    let (folder, address) = (config.mail_folder(), address.map(str::to_owned));
    let sweep = move || {
        let mut gone = 0;
        let Ok(entries) = std::fs::read_dir(&folder) else { return gone };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|ending| ending != "eml") {
                continue;
            }
            let over = match &address {
                Some(address) => std::fs::read(&path).is_ok_and(|text| names(&text, address)),
                None => std::fs::metadata(&path)
                    .and_then(|about| about.modified())
                    .is_ok_and(|written| written.elapsed().is_ok_and(|age| age >= FOLDER_KEPT)),
            };
            if !over {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => gone += 1,
                Err(error) => tracing::warn!(%error, path = %path.display(), "a letter stays in the mail folder"),
            }
        }
        gone
    };
    tokio::task::spawn_blocking(sweep).await.unwrap_or(0)
}

/// Whether a letter names an address, in its header or in its text: there a long line may be cut with `=`.
fn names(letter: &[u8], address: &str) -> bool {
    let text = String::from_utf8_lossy(letter).replace("=\r\n", "").replace("=\n", "").to_lowercase();
    text.match_indices(address).any(|(at, found)| {
        // bob@example.com is not rob.bob@example.com, nor bob@example.com.br.
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let before = text[..at].chars().next_back().is_some_and(inside);
        let mut after = text[at + found.len()..].chars();
        let goes_on = match after.next() {
            Some('.') => after.next().is_some_and(char::is_alphanumeric),
            Some(c) => c.is_alphanumeric() || matches!(c, '_' | '-'),
            None => false,
        };
        !before && !goes_on
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_name_an_address_are_found() {
        assert!(names(b"To: Ben <Ben@Example.com>\r\n", "ben@example.com"));
        assert!(names(b"moves to ben@exam=\r\nple.com.\r\n", "ben@example.com"));
        for other in [
            "To: rob.ben@example.com",
            "To: ben@example.com.br",
            "To: ben@example.community",
            "",
            "To: xben@example.com",
        ] {
            assert!(!names(other.as_bytes(), "ben@example.com"), "{other}");
        }
    }
}
