//! How much of a reference record applies to each aspect.

use crate::analyse::Analysis;
use crate::settings::{Aspect, Settings};

/// A reference with the amount of it that one aspect takes, 0–1.
///
/// The amount is the one asked for at the default strength; a lower strength takes less, a strength of 0 nothing.
pub(super) fn part<'a>(
    settings: &Settings,
    reference: Option<&'a Analysis>,
    aspect: Aspect,
) -> Option<(&'a Analysis, f64)> {
    let amounts = settings.reference;
    let amount = match aspect {
        Aspect::Tone => amounts.tone,
        Aspect::Dynamics => amounts.dynamics,
        Aspect::Width => amounts.width,
        Aspect::Loudness => amounts.loudness,
    };
    let amount = f64::from(amount.min(100)) / 100.0 * (2.0 * settings.strength.of(aspect)).min(1.0);
    reference.filter(|_| amount > 0.0).map(|r| (r, amount))
}
