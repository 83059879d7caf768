//! Songs of one album: what each is planned to be by itself says where it stands beside the others.
//!
//! The loudest song meets the loudness that is wanted. The others keep half of the distance their mixes had to it, so that a quiet song
//! stays quieter and a mix that was exported low does not stay low. Tone comes half-way together. Nothing depends on the order in
//! which the songs were analysed.

use super::curve::{average, gain_at, interpolate};
use super::tone::{Equalisation, Levels, boostable, comparable, gentle_slopes, pitch};
use super::{Goal, Plan, Reason, reason};
use crate::analyse::Analysis;
use crate::settings::Aspect;
use crate::units::{Db, Hz, Lufs};
use serde::{Deserialize, Serialize};

/// Share of a distance that is kept of loudness, and that is taken of tone.
const HALF: f64 = 0.5;
/// Furthest a song lies under the loudest, LU: and one whose kind of music is quieter by itself, a ballad among band songs.
const MOST: f64 = 2.0;
const MOST_BALLAD: f64 = 4.0;
/// From this distance between what two songs would be alone, one is a ballad beside the other, LU.
const BALLAD: f64 = 1.5;
/// Most that a song's tone moves towards the others, dB.
const TONE: f64 = 2.0;
/// Octaves over which tones are compared: broader than the notes of a song.
const BROAD: f64 = 1.0;
/// Where tones are compared, Hz; the move fades over half an octave at both ends.
const COMPARED: (f64, f64) = (60.0, 14_000.0);
/// What lies this far under the others is absent, and stays so, dB.
const ABSENT: f64 = 12.0;
/// Steepest move, dB per octave.
const SLOPE: f64 = 3.0;
/// Moves smaller than this are left out, dB.
const AUDIBLE: f64 = 0.3;
/// Points per octave of a song's tone.
const POINTS: f64 = 6.0;

/// A song as the others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Song {
    /// 95th percentile of the mix's short-term loudness.
    loud: Option<Lufs>,
    /// Loudness that the song alone would get.
    alone: Option<Lufs>,
    /// `[point of `points`]` level behind the equalisation it would get alone, dB.
    tone: Vec<Option<f64>>,
    /// `[point]` 0–1: how far a boost is allowed there.
    boost: Vec<f64>,
}

/// Where a song stands on its album.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// From 1 on.
    pub number: usize,
    /// How many songs there are.
    pub of: usize,
    /// Loudness of this song; `None`: as if it were alone.
    pub loudness: Option<Lufs>,
    /// How far that lies under the loudest song, ≤ 0.
    pub below: Db,
    /// What its tone moves by, on top of what it would get alone; empty: nothing.
    pub tone: Vec<(Hz, Db)>,
}

/// Where tones are compared.
fn points() -> Vec<f64> {
    let octaves = (COMPARED.1 / COMPARED.0).log2();
    (0..=(octaves * POINTS) as i32).map(|i| COMPARED.0 * 2f64.powf(f64::from(i) / POINTS)).collect()
}

impl Song {
    /// From a mix and what was planned for it alone.
    #[must_use]
    pub fn new(mix: &Analysis, alone: &Plan) -> Self {
        let points = points();
        let levels = Levels::new(&mix.spectrum);
        let curve = |values: &[f64]| levels.hz.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>();
        let (level, boost) = (curve(&levels.both), curve(&boostable(mix, &levels)));
        let known = |hz: f64| levels.hz.last().is_some_and(|last| hz <= *last) && comparable(mix, hz);
        let shaped: Vec<Option<f64>> = points
            .iter()
            .map(|&hz| known(hz).then(|| interpolate(&level, hz) + gain_at(&alone.tone.mid, hz)))
            .collect();
        let middle = crate::meter::median(&mut shaped.iter().copied().flatten().collect::<Vec<_>>()).unwrap_or(0.0);
        Self {
            loud: mix.loudness.p95_short_term.or(mix.loudness.integrated).filter(|loud| loud.0.is_finite()),
            alone: match alone.goal {
                Goal::Loudness { target, wished } => Some(wished.unwrap_or(target)),
                Goal::Keep | Goal::Peak { .. } => None,
            },
            tone: shaped.iter().map(|point| point.map(|db| db - middle)).collect(),
            boost: points.iter().map(|&hz| if known(hz) { interpolate(&boost, hz) } else { 0.0 }).collect(),
        }
    }
}

/// The seats of an album's songs, in their order.
#[must_use]
pub fn seats(songs: &[Song]) -> Vec<Seat> {
    let levels = loudness(songs);
    let points = points();
    let mean: Vec<Option<f64>> = (0..points.len())
        .map(|i| {
            let known: Vec<f64> = songs.iter().filter_map(|song| song.tone.get(i).copied().flatten()).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        })
        .collect();
    let numbered = (1..).zip(songs.iter().zip(levels));
    numbered
        .map(|(number, (song, level))| Seat {
            number,
            of: songs.len(),
            loudness: level.map(|(loudness, _)| loudness),
            below: level.map_or(Db(0.0), |(_, below)| below),
            tone: towards(song, &mean, &points),
        })
        .collect()
}

/// Loudness of each song, and how far it lies under the loudest.
fn loudness(songs: &[Song]) -> Vec<Option<(Lufs, Db)>> {
    let both = |song: &Song| Some((song.loud?.0, song.alone?.0));
    // The first of several that are as loud.
    let loudest = songs.iter().filter_map(both).reduce(|best, song| if song.0 > best.0 { song } else { best });
    let Some((top, target)) = loudest else { return vec![None; songs.len()] };
    songs
        .iter()
        .map(|song| {
            let (loud, alone) = both(song)?;
            let most = if alone <= target - BALLAD { MOST_BALLAD } else { MOST };
            // Tenths, as every loudness that we choose.
            let below = ((HALF * (loud - top)).clamp(-most, 0.0) * 10.0).round() / 10.0;
            Some((Lufs(target + below), Db(below)))
        })
        .collect()
}

/// Half the way from a song's tone to the mean, as far as it goes.
fn towards(song: &Song, mean: &[Option<f64>], points: &[f64]) -> Vec<(Hz, Db)> {
    let wanted: Vec<f64> = (0..points.len())
        .map(|i| match (song.tone.get(i), mean[i]) {
            (Some(Some(own)), Some(mean)) => mean - own,
            _ => 0.0,
        })
        .collect();
    let smooth = average(points, &wanted, |_| BROAD);
    let bent: Vec<f64> = smooth
        .iter()
        .enumerate()
        .map(|(i, distance)| {
            let there = ((ABSENT - distance) / (ABSENT / 2.0)).clamp(0.0, 1.0);
            let allowed = if *distance > 0.0 { song.boost.get(i).copied().unwrap_or(0.0) * there } else { 1.0 };
            let ends = (2.0 * (points[i] / COMPARED.0).log2()).min(2.0 * (COMPARED.1 / points[i]).log2());
            ends.clamp(0.0, 1.0) * (HALF * distance * allowed).clamp(-TONE, TONE)
        })
        .collect();
    let curve = gentle_slopes(points, &bent, SLOPE);
    if curve.iter().all(|db| db.abs() < AUDIBLE) {
        return Vec::new();
    }
    let round = |v: f64| (v * 100.0).round() / 100.0;
    points.iter().zip(curve).map(|(hz, db)| (Hz(round(*hz)), Db(round(db)))).collect()
}

impl Seat {
    /// Adds the move towards the other songs, by `strength` 0–1.
    pub(super) fn tune(&self, tone: &mut Equalisation, strength: f64) {
        let share = (2.0 * strength).min(1.0);
        if self.tone.is_empty() || share <= 0.0 {
            return;
        }
        for curve in [&mut tone.mid, &mut tone.side] {
            let mut hz: Vec<Hz> = curve.iter().chain(&self.tone).map(|(hz, _)| *hz).collect();
            hz.sort_by(|a, b| a.0.total_cmp(&b.0));
            hz.dedup();
            let sum = |hz: Hz| Db(((gain_at(curve, hz.0) + share * gain_at(&self.tone, hz.0)) * 100.0).round() / 100.0);
            *curve = hz.into_iter().map(|hz| (hz, sum(hz))).collect();
        }
        tone.reasons.extend(self.reason(share));
    }

    fn reason(&self, share: f64) -> Option<Reason> {
        let size = |(_, db): &&(Hz, Db)| (db.0.abs() * 1000.0) as i64;
        let (hz, db) = self.tone.iter().max_by_key(size)?;
        let text = format!(
            "Half-way towards the sound of the other songs on the album: {:+.1} around {}, where this one differs most.",
            Db(share * db.0),
            pitch(hz.0)
        );
        Some(reason(Aspect::Tone, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn song(loud: f64, alone: f64, tone: impl Fn(f64) -> f64) -> Song {
        let points = points();
        Song {
            loud: Some(Lufs(loud)),
            alone: Some(Lufs(alone)),
            tone: points.iter().map(|hz| Some(tone(*hz))).collect(),
            boost: vec![1.0; points.len()],
        }
    }

    fn below(songs: &[Song]) -> Vec<f64> {
        seats(songs).iter().map(|seat| seat.below.0).collect()
    }

    #[test]
    fn half_of_the_distance_to_the_loudest_stays() {
        let flat = |_: f64| 0.0;
        let songs =
            [song(-12.0, -11.5, flat), song(-10.0, -11.2, flat), song(-13.0, -11.0, flat), song(-20.0, -12.0, flat)];
        assert_eq!(below(&songs), [-1.0, 0.0, -1.5, -2.0]);
        assert_eq!(seats(&songs)[1].loudness, Some(Lufs(-11.2)), "the loudest is as loud as it would be alone");
        // A ballad may lie further down than a band song that was exported low.
        let ballad = [song(-10.0, -11.2, flat), song(-17.0, -14.0, flat), song(-30.0, -14.0, flat)];
        assert_eq!(below(&ballad), [0.0, -3.5, -4.0]);
        // What has no loudness stays by itself, and decides nothing.
        let silent = Song { loud: None, ..song(0.0, -9.0, flat) };
        let seats = seats(&[silent, song(-10.0, -11.2, flat)]);
        assert_eq!((seats[0].loudness, seats[1].loudness), (None, Some(Lufs(-11.2))));
    }

    #[test]
    fn tones_meet_half_way_and_no_further_than_two_decibels() {
        let tilt = |by: f64| move |hz: f64| by * (hz / 1000.0).log2();
        let songs = [song(-10.0, -11.0, tilt(0.6)), song(-10.0, -11.0, tilt(-0.6))];
        let [bright, dull] = &seats(&songs)[..] else { panic!() };
        let at = |seat: &Seat, hz: f64| gain_at(&seat.tone, hz);
        assert!(at(bright, 8000.0) < -0.6 && at(bright, 125.0) > 0.6, "{:?}", bright.tone);
        assert!(at(dull, 8000.0) > 0.6 && at(dull, 125.0) < -0.6);
        let far = [song(-10.0, -11.0, tilt(4.0)), song(-10.0, -11.0, tilt(-4.0))];
        for seat in seats(&far) {
            assert!(seat.tone.iter().all(|(_, db)| db.0.abs() <= TONE));
        }
        // Songs that are alike, and a song by itself, stay as they are.
        let alike = [song(-10.0, -11.0, tilt(0.1)), song(-10.0, -11.0, tilt(-0.1))];
        assert!(seats(&alike).iter().all(|seat| seat.tone.is_empty()));
        assert!(seats(&songs[..1])[0].tone.is_empty());
    }

    #[test]
    fn what_is_absent_is_not_brought_up() {
        let thin = |hz: f64| if hz < 200.0 { -30.0 } else { 0.0 };
        let songs = [song(-10.0, -11.0, |_| 0.0), song(-10.0, -11.0, |_| 0.0), song(-10.0, -11.0, thin)];
        let seats = seats(&songs);
        assert!(seats[2].tone.iter().all(|(hz, db)| hz.0 > 180.0 || db.0 <= 0.0), "{:?}", seats[2].tone);
        // Where no boost is allowed there is none.
        let mut noisy = songs[2].clone();
        noisy.boost.fill(0.0);
        let seats = super::seats(&[songs[0].clone(), noisy]);
        assert!(seats[1].tone.iter().all(|(_, db)| db.0 <= 0.0));
    }
}
