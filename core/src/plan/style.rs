//! The six styles as data: what a record of that kind sounds like, and how far the engine may go to get there.

use super::curve::interpolate;
use crate::bands::BANDS;
use crate::settings::Style;

/// Ranges of the spectrum that have a name of their own: name, plural verb, upper edge in Hz.
pub(super) const REGIONS: [Region; 6] = [
    Region { name: "the sub", plural: false, high: 55.0, centre: 40.0 },
    Region { name: "the bass", plural: false, high: 150.0, centre: 95.0 },
    Region { name: "the low mids", plural: true, high: 500.0, centre: 275.0 },
    Region { name: "the mids", plural: true, high: 2_000.0, centre: 1_000.0 },
    Region { name: "the presence range", plural: false, high: 6_500.0, centre: 3_500.0 },
    Region { name: "the air", plural: false, high: f64::INFINITY, centre: 10_000.0 },
];

/// A named range of the spectrum.
pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) plural: bool,
    /// Upper edge, Hz.
    pub(super) high: f64,
    /// Where a style's [`StyleSpec::character`] applies in full, Hz.
    pub(super) centre: f64,
}

/// The range records live in, as third-octave levels: Hz, middle, how far below and how far above it a record may lie (dB).
/// The levels are relative: only the shape counts.
///
/// The middle follows the published long-term average spectra of popular music (Elowsson & Friberg, "Long-term average spectrum in
/// popular music and its relation to the level of the percussion", AES 142, 2017; Pestana et al., "Spectral characteristics of popular
/// commercial recordings 1950–2010", AES 135, 2013): a maximum under 100 Hz, about −2 dB per octave in third octaves (−5 dB per octave of
/// power density) to 4 kHz, steeper above. Values rounded by ear; the widths were set so that ten finished records of very different
/// kinds (orchestral, electronic, rock) need next to nothing. Lows are wide downwards because a quartet has none.
pub(super) const RECORDS: [(f64, f64, f64, f64); 19] = [
    (30.0, 0.0, 24.0, 7.0),
    (40.0, 5.0, 20.0, 5.5),
    (50.0, 8.0, 15.0, 4.5),
    (63.0, 8.5, 13.0, 4.0),
    (80.0, 8.0, 11.0, 4.0),
    (100.0, 7.0, 8.5, 4.0),
    (160.0, 5.0, 6.0, 3.5),
    (250.0, 3.8, 4.2, 3.0),
    (400.0, 2.2, 3.2, 3.2),
    (630.0, 1.0, 3.0, 3.2),
    (1_000.0, -0.5, 3.0, 3.2),
    (1_600.0, -1.8, 3.0, 3.0),
    (2_500.0, -3.0, 3.0, 3.0),
    (4_000.0, -5.0, 3.2, 3.0),
    (6_300.0, -7.3, 3.8, 3.5),
    (8_000.0, -8.8, 4.2, 4.0),
    (10_000.0, -10.8, 5.0, 5.0),
    (12_500.0, -14.0, 6.5, 7.0),
    (16_000.0, -18.0, 9.0, 9.0),
];

/// A region that may move as far as the bound allows.
const FREE: (f64, f64) = (-90.0, 90.0);

/// One style. All values by ear and practice unless they say otherwise; amounts are those of strength 100.
#[derive(Clone, Debug)]
pub(super) struct StyleSpec {
    /// Which.
    pub(super) style: Style,
    /// What every mix is given at the centres of [`REGIONS`], wherever it lies, dB; only the shape counts.
    pub(super) character: [f64; 6],
    /// Share that is taken back of the distance between a mix and the middle of the range, inside of it.
    pub(super) pull: f64,
    /// Least and most that a region may move, dB: what a style of this name never does.
    pub(super) moves: [(f64, f64); 6],
    /// Multiplies the widths of [`RECORDS`].
    pub(super) tolerance: f64,
    /// Spread (95th − 50th percentile of the 20 ms levels) per band above which a band is held, dB. The finished records we measured
    /// have medians of 8, 5, 6, 9.5 and 13.5 dB.
    pub(super) spread: [f64; BANDS],
    /// Reduction aimed at on the 95th percentile of a band's level, dB.
    pub(super) hold: f64,
    /// Attack per band, seconds: below 20 ms the low band distorts.
    pub(super) attack: [f64; BANDS],
    /// Release per band, seconds.
    pub(super) release: [f64; BANDS],
    /// Range of side over mid per band, dB. Records: −10, −4, −4.5, −5, −7.
    pub(super) width: [(f64, f64); BANDS],
    /// Largest change of the side, dB.
    pub(super) widen: f64,
    /// Share of the third- and second-order term of the saturator.
    pub(super) saturation: (f64, f64),
    /// Most the transient shaper takes off behind a hit, dB.
    pub(super) punch: f64,
    /// Most the clipper takes off, dB.
    pub(super) clipper: f64,
    /// Most the leveler takes off, dB.
    pub(super) leveler: f64,
    /// Limiting budget of dense music: median of the reduction where it works, and its 95th percentile over the track, dB.
    pub(super) median: f64,
    pub(super) p95: f64,
    /// Limiting budget at 19 of 20 hits (the largest reduction of every 0.1 s in which there is any), dB: where the material is dense the
    /// other two are met first, and where it is not, this one is far smaller (see `material`).
    pub(super) hits: f64,
    /// Integrated loudness aimed at where nobody asked for one, LUFS.
    pub(super) loudness: f64,
    /// Peak to loudness ratio the style does not go below by itself, dB.
    pub(super) plr: f64,
    /// Limiter release after single peaks and in dense passages, seconds.
    pub(super) limiter: (f64, f64),
}

/// The style's row.
pub(super) fn spec(style: Style) -> &'static StyleSpec {
    match style {
        Style::Gentle => &STYLES[0],
        Style::Balanced => &STYLES[1],
        Style::Warm => &STYLES[2],
        Style::Open => &STYLES[3],
        Style::Punchy => &STYLES[4],
        Style::Loud => &STYLES[5],
    }
}

pub(super) static STYLES: [StyleSpec; 6] = [
    StyleSpec {
        style: Style::Gentle,
        character: [0.0; 6],
        pull: 0.0,
        moves: [FREE; 6],
        tolerance: 1.5,
        spread: [14.0, 10.0, 11.0, 16.0, 20.0],
        hold: 1.5,
        attack: [0.040, 0.030, 0.025, 0.020, 0.015],
        release: [0.300, 0.250, 0.200, 0.160, 0.140],
        width: [(-90.0, -6.0), (-90.0, -1.0), (-90.0, -1.0), (-90.0, -1.0), (-90.0, -1.0)],
        widen: 1.0,
        saturation: (0.0, 0.0),
        punch: 0.0,
        clipper: 0.0,
        leveler: 0.0,
        median: 0.7,
        p95: 1.5,
        hits: 6.0,
        loudness: -14.0,
        plr: 12.0,
        limiter: (0.050, 0.400),
    },
    StyleSpec {
        style: Style::Balanced,
        character: [0.0; 6],
        pull: 0.9,
        moves: [FREE; 6],
        tolerance: 1.0,
        spread: [10.0, 6.5, 7.5, 11.0, 15.0],
        hold: 4.0,
        attack: [0.030, 0.020, 0.015, 0.012, 0.010],
        release: [0.200, 0.160, 0.130, 0.110, 0.100],
        width: [(-90.0, -8.0), (-16.0, -2.0), (-13.0, -2.0), (-12.0, -2.0), (-14.0, -2.0)],
        widen: 3.0,
        saturation: (0.0, 0.0),
        punch: 0.0,
        clipper: 1.5,
        leveler: 0.0,
        median: 1.0,
        p95: 3.0,
        hits: 14.0,
        loudness: -11.0,
        plr: 9.5,
        limiter: (0.030, 0.300),
    },
    StyleSpec {
        style: Style::Warm,
        character: [1.0, 2.5, 2.5, 0.0, -2.5, -4.5],
        pull: 0.75,
        moves: [FREE, FREE, (0.8, 90.0), FREE, FREE, (-90.0, -0.8)],
        tolerance: 0.85,
        spread: [9.5, 6.0, 7.0, 10.0, 14.0],
        hold: 4.0,
        attack: [0.035, 0.025, 0.020, 0.010, 0.008],
        release: [0.220, 0.180, 0.150, 0.120, 0.110],
        width: [(-90.0, -8.0), (-16.0, -2.0), (-13.0, -2.0), (-14.0, -3.0), (-18.0, -3.0)],
        widen: 2.0,
        saturation: (0.003, 0.045),
        punch: 0.0,
        clipper: 1.5,
        leveler: 0.0,
        median: 1.0,
        p95: 2.8,
        hits: 13.0,
        loudness: -11.5,
        plr: 9.5,
        limiter: (0.040, 0.350),
    },
    StyleSpec {
        style: Style::Open,
        character: [-1.5, -1.5, -3.5, 0.0, 2.5, 4.5],
        pull: 0.75,
        moves: [FREE; 6],
        tolerance: 0.85,
        spread: [10.0, 6.5, 8.0, 12.0, 16.0],
        hold: 3.0,
        attack: [0.030, 0.025, 0.020, 0.015, 0.012],
        release: [0.200, 0.160, 0.140, 0.120, 0.110],
        width: [(-90.0, -8.0), (-12.0, -1.5), (-8.0, -1.5), (-6.0, -1.0), (-6.0, -1.0)],
        widen: 4.0,
        saturation: (0.0, 0.0),
        punch: 0.0,
        clipper: 1.0,
        leveler: 0.0,
        median: 1.0,
        p95: 2.5,
        hits: 12.0,
        loudness: -11.5,
        plr: 10.0,
        limiter: (0.030, 0.300),
    },
    StyleSpec {
        style: Style::Punchy,
        character: [3.0, 3.5, -3.5, -1.5, 2.5, 1.0],
        pull: 0.75,
        moves: [FREE; 6],
        tolerance: 0.85,
        spread: [8.5, 6.5, 8.0, 12.0, 16.0],
        hold: 4.5,
        attack: [0.045, 0.035, 0.030, 0.025, 0.020],
        release: [0.160, 0.130, 0.110, 0.090, 0.080],
        width: [(-90.0, -10.0), (-16.0, -3.0), (-13.0, -2.0), (-11.0, -2.0), (-12.0, -2.0)],
        widen: 3.0,
        saturation: (0.03, 0.0),
        punch: 5.0,
        clipper: 3.0,
        leveler: 0.0,
        median: 1.0,
        p95: 3.0,
        hits: 16.0,
        loudness: -10.5,
        plr: 8.5,
        limiter: (0.030, 0.200),
    },
    StyleSpec {
        style: Style::Loud,
        character: [-4.0, -2.0, -1.0, 2.5, 3.5, -1.0],
        pull: 0.75,
        moves: [FREE; 6],
        tolerance: 0.9,
        spread: [8.0, 5.5, 6.5, 9.5, 13.0],
        hold: 6.0,
        attack: [0.025, 0.018, 0.012, 0.010, 0.008],
        release: [0.160, 0.130, 0.100, 0.090, 0.080],
        width: [(-90.0, -10.0), (-16.0, -3.0), (-13.0, -2.5), (-12.0, -2.0), (-14.0, -2.0)],
        widen: 3.0,
        saturation: (0.05, 0.02),
        punch: 0.0,
        clipper: 3.0,
        leveler: 3.0,
        median: 1.5,
        p95: 4.0,
        hits: 20.0,
        loudness: -8.5,
        plr: 7.0,
        limiter: (0.030, 0.250),
    },
];

impl StyleSpec {
    /// What the style adds at `hz`, dB.
    pub(super) fn character(&self, hz: f64) -> f64 {
        interpolate(&std::array::from_fn::<_, 6, _>(|i| (REGIONS[i].centre, self.character[i])), hz)
    }

    /// The largest of it anywhere, dB.
    pub(super) fn strongest(&self) -> f64 {
        self.character.iter().fold(0.0, |most, gain| most.max(gain.abs()))
    }

    /// Least and most that a mix moves at `hz`, dB, at full strength.
    pub(super) fn moves(&self, hz: f64) -> (f64, f64) {
        self.moves[REGIONS.iter().position(|region| hz < region.high).unwrap_or(REGIONS.len() - 1)]
    }

    /// Lowest, middle and highest third-octave level at `hz`.
    pub(super) fn corridor(&self, hz: f64) -> Corridor {
        let column = |pick: fn(&(f64, f64, f64, f64)) -> f64| interpolate(&RECORDS.map(|row| (row.0, pick(&row))), hz);
        let middle = column(|row| row.1);
        Corridor {
            low: middle - column(|row| row.2) * self.tolerance,
            middle,
            high: middle + column(|row| row.3) * self.tolerance,
        }
    }
}

/// Where a level may lie, dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Corridor {
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

impl Corridor {
    /// `level`, or the nearest edge.
    pub(super) fn clamp(&self, level: f64) -> f64 {
        level.max(self.low).min(self.high)
    }

    /// How far `level` lies outside, dB; positive above.
    pub(super) fn outside(&self, level: f64) -> f64 {
        (level - self.high).max(0.0) - (self.low - level).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_has_its_row_and_stays_within_the_house_rules() {
        for style in Style::ALL {
            let s = spec(style);
            assert_eq!(s.style, style);
            assert!(s.attack[0] >= 0.020 && s.release[0] >= 0.150, "{style}: the low band must not distort");
            assert!(s.clipper <= 3.0 && s.leveler <= 3.0);
            assert!((-15.0..=-8.0).contains(&s.loudness));
            for (hz, ..) in RECORDS {
                let corridor = s.corridor(hz);
                assert!(corridor.high - corridor.low > 4.0, "{style} at {hz} Hz is narrower than any two records");
            }
        }
        let loud: Vec<f64> = Style::ALL.iter().map(|s| spec(*s).loudness).collect();
        assert!(loud[0] < loud[1] && loud[5] > loud[4] && loud[4] > loud[1]);
    }

    #[test]
    fn interpolation_is_straight_over_octaves_and_held_outside() {
        let points = [(100.0, 0.0), (400.0, 4.0)];
        assert_eq!(interpolate(&points, 50.0), 0.0);
        assert!((interpolate(&points, 200.0) - 2.0).abs() < 1e-12);
        assert_eq!(interpolate(&points, 800.0), 4.0);
    }
}
