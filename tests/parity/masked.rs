//! `masked_relief` and `masked_clip`: the tasks of the CPU against whole channels in `f64`.

use super::{BAR, SHORT, bits, distance, music};
use loopmaster_core::Audio;
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::render::masking::Masking;
use loopmaster_core::render::reference::Reference;
use loopmaster_core::units::Db;

/// Both on the same audio at a gain; how far the clip is.
fn check(rate: u32, frames: usize, gain: f32, rounds: usize) -> f64 {
    let masking = Masking::new(rate);
    let mut audio = music(rate, frames);
    audio.channels.iter_mut().flat_map(|channel| channel.iter_mut()).for_each(|x| *x *= gain);
    let (want, got) =
        (Reference.masked_relief(&audio, &masking, 0.88, Db(6.0)), Cpu.masked_relief(&audio, &masking, 0.88, Db(6.0)));
    assert_eq!(want.len(), got.len());
    for (frame, (want, got)) in want.iter().zip(&got).enumerate() {
        assert!((want - got).abs() < 1e-3, "frame {frame} of {frames} at {rate}: {got} dB, reference {want} dB");
    }
    let clipped = |kernels: &dyn Kernels| -> (Audio, _) {
        let mut audio = audio.clone();
        let done = kernels.masked_clip(&mut audio, &masking, 0.88, rounds);
        (audio, done)
    };
    let ((want, done), (got, also)) = (clipped(&Reference), clipped(&Cpu));
    assert_eq!(done, also);
    let far = distance(&got, &want);
    assert!(far <= BAR, "{frames} frames at {rate}, {rounds} rounds: {far:.1} dB");
    far
}

#[test]
fn masked_clip() {
    for frames in SHORT {
        check(44_100, frames, 3.0, 8);
    }
    println!("parity masked clip, 7 s: {:.1} dB", check(44_100, 308_713, 3.0, 8));
    println!("parity masked clip, finest: {:.1} dB", check(44_100, 100_003, 4.0, 32));
    println!("parity masked clip at 96 kHz: {:.1} dB", check(96_000, 100_003, 2.0, 8));
    println!("parity masked clip at 192 kHz: {:.1} dB", check(192_000, 50_001, 2.0, 8));
    // Nothing over the ceiling: nothing happens.
    let mut audio = music(44_100, 20_000);
    let same = audio.clone();
    assert_eq!(Cpu.masked_clip(&mut audio, &Masking::new(44_100), 2.0, 8).touched, 0);
    assert_eq!(bits(&audio), bits(&same));
}
