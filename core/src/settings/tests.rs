use super::*;

#[test]
fn formats_round_trip_as_text() {
    for (name, codec) in Codec::ALL {
        assert_eq!(name.parse::<Format>().unwrap(), Format { codec, rate: None });
    }
    let format: Format = "wav16@44100".parse().unwrap();
    assert_eq!(format.to_string(), "wav16@44100");
    assert!("aac".parse::<Format>().unwrap_err().to_string().contains("wav24"));
}

#[test]
fn mp3_and_opus_know_their_rates() {
    let rate = |name: &str, native| name.parse::<Format>().unwrap().rate_for(native, OutputRate::Native);
    assert_eq!(rate("mp3-320", 88_200), 44_100);
    assert_eq!(rate("mp3-320", 96_000), 48_000);
    assert_eq!(rate("opus", 44_100), 48_000);
    assert_eq!(rate("wav24", 192_000), 192_000);
}

#[test]
fn settings_refuse_unknown_fields() {
    assert!(serde_json::from_str::<Settings>(r#"{"stile":"warm"}"#).is_err());
    let settings: Settings =
        serde_json::from_str(r#"{"style":"warm","loudness":{"lufs":-9.0},"formats":["flac24"]}"#).unwrap();
    assert_eq!(settings.loudness, Loudness::Lufs(Lufs(-9.0)));
    assert_eq!(serde_json::from_str::<Settings>(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
}

#[test]
fn only_keeps_one_aspect() {
    let only = Strength::all(60).only(Aspect::Width);
    assert_eq!(only.of(Aspect::Width), 0.6);
    assert_eq!(only.of(Aspect::Tone), 0.0);
}
