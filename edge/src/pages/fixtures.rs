//! The api's answers as the tests and the example `pages` show them.

use serde_json::{Value, json};

/// A master of every state; `done` has everything.
pub(super) fn master(id: &str, title: &str, state: &str) -> Value {
    let mut master = json!({
        "id": id, "title": title, "state": state, "upload": {"id": "upl_1", "name": format!("{title}.wav"), "bytes": 64_210_040},
        "settings": {"style": "balanced", "loudness": {"destination": "spotify"}, "formats": ["wav24", "wav16@44100", "mp3-320"]},
        "created_at": "2026-11-25T20:15:00.123Z", "expires_at": "2026-12-02T20:15:00.123Z", "version": 7, "seconds": 243.0,
        "unknown_field": [1, 2, 3]
    });
    let more = match state {
        "running" => json!({"stage": "render"}),
        "waiting" => json!({"queue_position": 3, "seconds": null}),
        "failed" => {
            json!({"error": {"code": "decode.not_audio", "detail": "“invoice.wav” is a PDF document, not audio. Choose a WAV, AIFF, FLAC, MP3, M4A or OGG file."}, "seconds": null})
        }
        "done" => json!({"lufs": -14.02, "dbtp": -1.0, "result": result(), "artifacts": artifacts()}),
        _ => json!({}),
    };
    if let (Some(master), Value::Object(more)) = (master.as_object_mut(), more) {
        master.extend(more);
    }
    master
}

fn result() -> Value {
    json!({
        "figures": {
            "mix": {"lufs": -20.3, "dbtp": -2.1, "lra": 6.2, "plr": 18.2, "correlation": 0.71},
            "master": {"lufs": -14.02, "dbtp": -1.0, "lra": 5.4, "plr": 13.0, "correlation": 0.69, "seconds": 243.0}
        },
        "target": {"lufs": -14.0, "ceiling": -1.0, "stopped_early": null},
        "reasons": [
            {"aspect": "tone", "text": "1.5 dB less around 250 Hz: it hid the voice.", "before": 3.1, "after": 1.6, "unit": "dB"},
            {"aspect": "tone", "text": "A little more air above 10 kHz; the mix was darker than records of its kind.", "before": null, "after": null},
            {"aspect": "dynamics", "text": "The low end is held steadier: bass notes differed by 5 dB.", "before": 5.0, "after": 3.2, "unit": "dB"},
            {"aspect": "loudness", "text": "6.3 dB louder, so that Spotify plays it as it is.", "before": -20.3, "after": -14.0, "unit": "LUFS"}
        ],
        "findings": [
            {"code": "clipped", "severity": "problem", "seconds": 41.2, "text": "Your mix clips 214 times, first at 0:41.", "advice": "Turn the master fader down 3 dB and export again; we mastered it gently meanwhile."},
            {"code": "sibilance", "severity": "advice", "seconds": 96.0, "text": "The voice is sharp around 7 kHz.", "advice": "A de-esser on the voice does more than one on the master."},
            {"code": "mono_low", "severity": "note", "seconds": null, "text": "Below 100 Hz your mix is mono, as it should be.", "advice": ""}
        ],
        "preview": {"mix_gain_db": 6.3, "loudest_start": 132.5, "seconds": 30.0},
        "stages": [{"stage": "decode", "seconds": 0.6}, {"stage": "analyse", "seconds": 1.1}, {"stage": "plan", "seconds": 0.0}, {"stage": "render", "seconds": 2.3}, {"stage": "encode", "seconds": 2.0}, {"stage": "deliver", "seconds": 0.2}],
        "backend": {"name": "cpu", "device": "16-core processor"}
    })
}

fn artifacts() -> Value {
    let sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let file = |id: &str, kind: &str, role: &str, name: &str, media: &str, bytes: u64, url: Option<&str>| json!({"id": id, "kind": kind, "role": role, "name": name, "type": media, "bytes": bytes, "sha256": sha, "url": url});
    json!([
        file("art_1", "master", "wav24", "night-drive (master).wav", "audio/wav", 64_300_000, None),
        file("art_2", "master", "wav16@44100", "night-drive (master 16).wav", "audio/wav", 42_900_000, None),
        file("art_3", "master", "mp3-320", "night-drive (master).mp3", "audio/mpeg", 9_720_000, None),
        file("art_4", "report", "html", "night-drive (report).html", "text/html", 88_000, Some("/files/report.html")),
        file("art_5", "preview", "mix", "mix.opus", "audio/ogg", 4_800_000, Some("/files/mix.opus")),
        file("art_6", "preview", "master", "master.opus", "audio/ogg", 4_900_000, Some("/files/master.opus")),
        file("art_7", "waveform", "mix", "mix.dat", "application/octet-stream", 20_000, Some("/files/mix.dat")),
        file(
            "art_8",
            "waveform",
            "master",
            "master.dat",
            "application/octet-stream",
            20_000,
            Some("/files/master.dat")
        ),
        file("art_9", "plot", "spectrum", "spectrum.svg", "image/svg+xml", 9_000, Some("/files/spectrum.svg")),
        file("art_10", "plot", "loudness", "loudness.svg", "image/svg+xml", 9_000, Some("/files/loudness.svg")),
        file("art_11", "plot", "reduction", "reduction.svg", "image/svg+xml", 9_000, Some("/files/reduction.svg"))
    ])
}

/// `GET /v1/me` of somebody signed in.
pub(super) fn me() -> Value {
    json!({
        "user": {"id": "usr_1", "email": "nora@example.com", "name": "Nora Lindqvist", "picture": null, "mail_when_ready": true, "created_at": "2026-03-20T08:00:00Z", "delete_after": null, "policy_current": true},
        "guest": null,
        "quotas": {"tracks_a_day": {"limit": 500, "used": 12}, "stored_bytes": {"limit": 200_000_000_000_u64, "used": 31_400_000_000_u64}, "waiting": {"limit": 300, "used": 2}, "file_bytes": 4_294_967_296_u64, "batch_tracks": 300}
    })
}

/// `GET /v1/masters`.
pub(super) fn masters() -> Value {
    let songs = [
        ("night-drive", "done"),
        ("two-rivers", "running"),
        ("Étude für Elisa, take 14 (final, really final)", "done"),
        ("夜のドライブ", "done"),
        ("invoice", "failed"),
        ("slow-motion", "waiting"),
        ("paper-moon", "done"),
        ("harbour", "cancelled"),
        ("lanterns", "done"),
    ];
    let items = songs
        .iter()
        .enumerate()
        .map(|(n, (title, state))| master(&format!("mst_{}", n + 1), title, state))
        .collect::<Vec<_>>();
    json!({"items": items, "next": "b2Zmc2V0"})
}

/// `GET /v1/destinations`.
pub(super) fn destinations() -> Value {
    json!([
        {"key": "spotify", "name": "Spotify", "target": -14.0, "ceiling": -1.0, "note": "Louder masters are turned down to −14 LUFS; quieter ones come up only as far as their peaks allow."},
        {"key": "apple", "name": "Apple Music", "target": -16.0, "ceiling": -1.0, "note": "Sound Check plays everything at −16 LUFS."},
        {"key": "youtube", "name": "YouTube", "target": -14.0, "ceiling": -1.0, "note": "Louder uploads are turned down to −14 LUFS; quieter ones stay quiet."},
        {"key": "bandcamp", "name": "Bandcamp", "target": null, "ceiling": -1.0, "note": "Plays files as they are."}
    ])
}

/// `GET /v1/confirmations/{token}`.
pub(super) fn confirmation(of: &str) -> Value {
    let email = (of == "account").then_some("nora@example.com");
    json!({"ticket": "tkt_0199c2f4a7e07b1c", "topic": "privacy", "sent_at": "2026-11-29T18:20:00.000Z", "of": of, "email": email, "here": true, "state": "waiting"})
}

/// `GET /v1/status`.
pub(super) fn status() -> Value {
    json!({
        "state": "ok", "uploads": true, "waiting": 4, "waiting_seconds": 930.0, "oldest_seconds": 12, "version": "0.1.0",
        "providers": [{"name": "Example Hosting", "purpose": "machines and storage", "country": "Sweden"}],
        "retention": {"guest_days": 7}
    })
}

/// Sessions, tokens, webhooks and the export of an account.
pub(super) fn account() -> (Value, Value, Value, Value) {
    (
        json!([
            {"id": "ses_1", "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "created_at": "2026-11-25T08:00:00Z", "seen_at": "2026-11-25T20:00:00Z", "current": true},
            {"id": "ses_2", "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1", "created_at": "2026-11-20T08:00:00Z", "seen_at": "2026-11-24T10:00:00Z", "current": false}
        ]),
        json!([{"id": "tok_1", "name": "studio scripts", "scopes": ["uploads", "masters"], "created_at": "2026-10-01T08:00:00Z", "used_at": "2026-11-24T10:00:00Z", "expires_at": "2027-10-01T08:00:00Z"}]),
        json!([{"id": "whk_1", "url": "https://label.example/hooks/masters", "created_at": "2026-10-01T08:00:00Z", "disabled_at": null}]),
        json!({"state": "ready", "url": "/files/export.zip", "bytes": 1_200_000_000, "expires_at": "2026-12-01T10:00:00Z"}),
    )
}
