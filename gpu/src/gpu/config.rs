//! How a card is to be used, as the environment says.

use super::error::GpuError;

/// How the card is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Part of the adapter's name to choose it by; `None`: the most capable one.
    pub adapter: Option<String>,
    /// Whether a software driver may take the place of a card, where there is none.
    pub software: bool,
    /// Most bytes of graphics memory to use.
    pub memory: u64,
    /// Most frames in one submission; it adapts below that to stay near 50 ms.
    pub frames: usize,
    /// For tests: the submission before which the device is destroyed, counted from 0.
    pub lose_at: Option<u64>,
    /// For tests: submissions from which on launches are left out, as by a driver that drops them.
    pub skip_from: Option<u64>,
    /// For tests: the bits that both stores are filled with before each group; none may be left in a result.
    pub poison: Option<u32>,
    /// Takes the time of every launch on the card, which costs some of it.
    pub profile: bool,
    /// What of the environment could not be read: the variable, its value, what it may hold.
    pub misread: Option<(&'static str, String, &'static str)>,
}

impl Default for Config {
    /// What the environment says; what of it cannot be read is told by [`Config::check`] and refused by whoever opens a card.
    fn default() -> Self {
        Self::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().trim().to_owned()))
    }
}

/// MiB of graphics memory that may be used where nobody says otherwise.
const MEMORY: u64 = 1536;
/// Most MiB that can be asked for: a pebibyte.
const MOST_MEMORY: u64 = 1 << 30;

impl Config {
    fn read(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let mut misread = None;
        let mut note = |name, value: &str, wanted| misread = Some((name, value.to_owned(), wanted));
        let memory = given("LOOPMASTER_GPU_MEMORY").map_or(MEMORY, |text| {
            let mib = text.parse().ok().filter(|mib| (1..=MOST_MEMORY).contains(mib));
            mib.unwrap_or_else(|| {
                note("LOOPMASTER_GPU_MEMORY", &text, "a number of MiB above 0");
                MEMORY
            })
        });
        let software = given("LOOPMASTER_GPU_SOFTWARE").is_some_and(|text| match text.as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => {
                note("LOOPMASTER_GPU_SOFTWARE", &text, "1 or 0");
                false
            }
        });
        Self {
            adapter: given("LOOPMASTER_GPU_ADAPTER"),
            software,
            memory: memory << 20,
            frames: 8 << 20,
            lose_at: None,
            skip_from: None,
            poison: None,
            profile: false,
            misread,
        }
    }

    /// Whether all that the environment says of cards could be read.
    ///
    /// # Errors
    /// [`GpuError::Setting`] with the name of the variable, its value and what it may hold.
    pub fn check(&self) -> Result<(), GpuError> {
        self.misread.clone().map_or(Ok(()), |(name, value, wanted)| Err(GpuError::Setting { name, value, wanted }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::device::Engine;

    fn read(pairs: &[(&str, &str)]) -> Config {
        Config::read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_variable_that_says_nothing_usable_is_named() {
        let fine = read(&[("LOOPMASTER_GPU_MEMORY", "4096"), ("LOOPMASTER_GPU_SOFTWARE", "1")]);
        assert_eq!((fine.memory, fine.software), (4096 << 20, true));
        fine.check().unwrap();
        assert_eq!(read(&[("LOOPMASTER_GPU_MEMORY", "")]).memory, MEMORY << 20);
        for (name, value) in [
            ("LOOPMASTER_GPU_MEMORY", "4 GiB"),
            ("LOOPMASTER_GPU_MEMORY", "0"),
            ("LOOPMASTER_GPU_MEMORY", "-1"),
            ("LOOPMASTER_GPU_MEMORY", "99999999999999999"),
            ("LOOPMASTER_GPU_SOFTWARE", "yes please"),
        ] {
            let error = read(&[(name, value)]).check().unwrap_err();
            assert_eq!(error.code(), "gpu.setting");
            assert!(error.to_string().contains(name) && error.to_string().contains(value), "{error}");
            assert!(Engine::open(&read(&[(name, value)])).is_err_and(|error| error.code() == "gpu.setting"));
        }
    }
}
