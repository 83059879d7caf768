//! `loopmaster master --album`: every mix is heard before the first is mastered.

use crate::inputs::Input;
use crate::progress::Progress;
use crate::schedule;
use loopmaster_core::decode::STANDARD_INPUT;
use loopmaster_core::master::{self as track, MasterRequest};
use loopmaster_core::plan::{Seat, Song, seats};
use serde_json::json;
use std::fmt::Write as _;

/// The seat of each input; an error for one that could not be read, which has been told.
pub(crate) fn listen(
    inputs: &[Input],
    threads: usize,
    order: &MasterRequest<'_>,
    progress: &Progress,
) -> Vec<Result<Option<Seat>, ()>> {
    let heard =
        schedule::run(inputs, threads, |_, input| schedule::guarded(input, progress, || hear(input, order, progress)));
    let songs: Vec<Song> = heard.iter().flatten().cloned().collect();
    let mut taken = seats(&songs).into_iter();
    let seats: Vec<Result<Option<Seat>, ()>> = heard.into_iter().map(|song| song.map(|_| taken.next())).collect();
    tell(inputs, &seats, progress);
    seats
}

fn hear(input: &Input, order: &MasterRequest<'_>, progress: &Progress) -> Result<Song, ()> {
    let name = input.path.display().to_string();
    if input.path.as_os_str() == STANDARD_INPUT {
        let message = "an album is read twice, and standard input can be read once; give it as a file";
        progress.error(&name, "album.standard_input", message);
        return Err(());
    }
    let decided = track::decide(&input.path, order, &mut progress.track(&input.path));
    match decided {
        Ok((_, mix, plan)) => Ok(Song::new(&mix, &plan)),
        Err(error) => {
            progress.error(&name, error.code(), &error.to_string());
            Err(())
        }
    }
}

fn tell(inputs: &[Input], seats: &[Result<Option<Seat>, ()>], progress: &Progress) {
    let mut text = "The album:".to_owned();
    for (input, seat) in
        inputs.iter().zip(seats).filter_map(|(input, seat)| Some((input, seat.as_ref().ok()?.as_ref()?)))
    {
        progress.event(&json!({ "event": "seat", "file": input.path.to_string_lossy(), "seat": seat }));
        let name = input.path.file_name().unwrap_or(input.path.as_os_str()).to_string_lossy();
        let level = match seat.loudness {
            Some(loudness) if seat.below.0 < -0.05 => format!("{loudness}, {:.1} LU below the loudest", -seat.below.0),
            Some(loudness) => format!("{loudness}, the loudest"),
            None => "by itself".to_owned(),
        };
        let _ = write!(text, "\n  {:2}  {name} · {level}", seat.number);
    }
    progress.say(&text);
}
