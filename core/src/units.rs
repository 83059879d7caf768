//! Units are types. A bare `f32` is a sample; everything that carries a unit says so in its type.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Neg, Sub};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $suffix:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits = f.precision().unwrap_or($digits);
                // A typographic minus: these values are read by people, on pages and in terminals.
                let sign = if self.0 < 0.0 && format!("{:.*}", digits, self.0.abs()).bytes().any(|b| (b'1'..=b'9').contains(&b)) {
                    "−"
                } else if f.sign_plus() {
                    "+"
                } else {
                    ""
                };
                write!(f, "{sign}{:.*}{}", digits, self.0.abs(), concat!("\u{202f}", $suffix))
            }
        }
    };
}

unit!(
    /// A level difference or gain in decibels.
    Db, "dB", 1
);
unit!(
    /// Loudness in LUFS (ITU-R BS.1770-5).
    Lufs, "LUFS", 1
);
unit!(
    /// True peak in dBTP (ITU-R BS.1770-5, Annex 2).
    Dbtp, "dBTP", 1
);
unit!(
    /// Frequency in hertz.
    Hz, "Hz", 0
);
unit!(
    /// Time in seconds.
    Seconds, "s", 1
);

impl Db {
    /// The level of an amplitude ratio; `-inf` dB for zero.
    #[must_use]
    pub fn from_amplitude(ratio: f64) -> Self {
        Self(20.0 * ratio.abs().log10())
    }

    /// The level of a power ratio; `-inf` dB for zero.
    #[must_use]
    pub fn from_power(ratio: f64) -> Self {
        Self(10.0 * ratio.log10())
    }

    /// The amplitude ratio of this level.
    #[must_use]
    pub fn amplitude(self) -> f64 {
        10f64.powf(self.0 / 20.0)
    }

    /// The power ratio of this level.
    #[must_use]
    pub fn power(self) -> f64 {
        10f64.powf(self.0 / 10.0)
    }
}

impl Add for Db {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Db {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Db {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Dbtp {
    /// The linear amplitude of this peak level.
    #[must_use]
    pub fn amplitude(self) -> f64 {
        Db(self.0).amplitude()
    }

    /// The level of a linear peak amplitude; `-inf` for silence.
    #[must_use]
    pub fn from_amplitude(peak: f64) -> Self {
        Self(Db::from_amplitude(peak).0)
    }
}

impl Add<Db> for Lufs {
    type Output = Self;
    fn add(self, gain: Db) -> Self {
        Self(self.0 + gain.0)
    }
}

impl Sub<Db> for Lufs {
    type Output = Self;
    fn sub(self, gain: Db) -> Self {
        Self(self.0 - gain.0)
    }
}

impl Sub for Lufs {
    type Output = Db;
    fn sub(self, other: Self) -> Db {
        Db(self.0 - other.0)
    }
}

impl Seconds {
    /// `1:02.3`, as a player shows a position.
    #[must_use]
    pub fn clock(self) -> String {
        let tenths = (self.0.max(0.0) * 10.0).round() as u64;
        format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
    }

    /// The nearest frame at `rate`.
    #[must_use]
    pub fn frames(self, rate: u32) -> usize {
        (self.0.max(0.0) * f64::from(rate)).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_as_people_write_them() {
        assert_eq!(Lufs(-14.04).to_string(), "−14.0\u{202f}LUFS");
        assert_eq!(format!("{:+.2}", Db(1.5)), "+1.50\u{202f}dB");
        assert_eq!(Db(-0.04).to_string(), "0.0\u{202f}dB");
        assert_eq!(Seconds(62.34).clock(), "1:02.3");
        assert!((Db(-6.0).amplitude() - 0.501_187).abs() < 1e-6);
    }
}
