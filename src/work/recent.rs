//! The tracks that visitors listened to last, decoded and analysed: another style of the same mix begins with its plan.
//!
//! They take only memory that no claimed track has set aside, and give it up, oldest first, when one is claimed.

use super::capacity;
use loopmaster_core::analyse::Analysis;
use loopmaster_core::decode::Track;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a track is kept after it was last used.
const KEPT: Duration = Duration::from_mins(10);

/// A decoded mix and what its analysis found.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) track: Track,
    pub(super) analysis: Analysis,
}

#[derive(Debug)]
struct Kept {
    key: String,
    known: Arc<Known>,
    used: Instant,
}

/// Known by the key of the object they were decoded from, whose bytes never change.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Vec<Kept>>);

impl Recent {
    fn list(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, key: &str) -> Option<Arc<Known>> {
        let mut list = self.list();
        let at = list.iter().position(|kept| kept.key == key)?;
        let mut kept = list.remove(at);
        kept.used = Instant::now();
        let known = Arc::clone(&kept.known);
        list.push(kept);
        Some(known)
    }

    /// Keeps a track where `free` bytes have room for it. Samples that lie in files stay where they are.
    pub(super) fn keep(&self, key: &str, track: &Track, analysis: &Analysis, free: u64) {
        let in_files = |track: &Track| track.audio.channels[0].is_file();
        if in_files(track) || capacity::bytes(&track.audio) > free {
            return;
        }
        // Without room for a copy, the track is decoded again when it is needed.
        let Some(track) = track.try_clone().ok().filter(|copy| !in_files(copy)) else { return };
        let known = Arc::new(Known { track, analysis: analysis.clone() });
        let mut list = self.list();
        list.retain(|kept| kept.key != key);
        list.push(Kept { key: key.to_owned(), known, used: Instant::now() });
        drop(list);
        self.fit(free);
    }

    /// Gives up the oldest until the rest takes at most `free` bytes, and all that nobody came back to.
    pub(super) fn fit(&self, free: u64) {
        let mut list = self.list();
        let bytes = |kept: &Kept| capacity::bytes(&kept.known.track.audio);
        let mut left: u64 = list.iter().map(bytes).sum();
        list.retain(|kept| {
            let stays = left <= free && kept.used.elapsed() < KEPT;
            if !stays {
                left -= bytes(kept);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loopmaster_core::Audio;
    use loopmaster_core::analyse::analyse;

    fn track(frames: usize) -> Track {
        let audio = Audio::new(44_100, [vec![0.1; frames], vec![0.2; frames]]);
        Track {
            audio,
            source: loopmaster_core::decode::Source::default(),
            tags: loopmaster_core::decode::Tags::default(),
        }
    }

    #[test]
    fn the_oldest_goes_when_room_is_needed() {
        let recent = Recent::default();
        let (small, frames) = (track(44_100), 44_100_u64 * 8);
        let analysis = analyse(&small);
        for key in ["a", "b", "c"] {
            recent.keep(key, &small, &analysis, 3 * frames);
        }
        assert!(recent.find("a").is_some_and(|known| known.track.audio == small.audio && known.analysis == analysis));
        recent.fit(2 * frames);
        assert!(recent.find("b").is_none() && recent.find("c").is_some() && recent.find("a").is_some());
        recent.keep("d", &small, &analysis, frames - 1);
        assert!(recent.find("d").is_none(), "larger than all that is free");
        recent.fit(0);
        assert!(recent.find("a").is_none() && recent.find("c").is_none());
    }
}
