//! What may be asked for, checked at the time of asking.

use super::error::{Error, Result};
use loopmaster_core::Settings;
use loopmaster_core::plan::{self, destinations};
use loopmaster_core::settings::{
    Aspect, Codec, Fix, HIGHEST_NUMBER, LONGEST_COMMENT, LONGEST_TAG, Limiting, Material, Style, TagWishes,
};
use serde_json::json;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Most files of one master.
pub const MOST_FORMATS: usize = 16;

/// Refuses what no plan could meet.
pub fn validate(settings: &Settings) -> Result<()> {
    plan::check(settings).map_err(|error| Error::invalid(error.code(), error.to_string()))?;
    let formats = settings.formats.len();
    if formats == 0 || formats > MOST_FORMATS {
        return Err(Error::invalid(
            "plan.out_of_range",
            format!("formats has {formats} entries; use 1 to {MOST_FORMATS}"),
        ));
    }
    // A master has one reference upload.
    if settings.references.len() > 1 {
        return Err(Error::invalid(
            "plan.out_of_range",
            format!("references has {} entries; use at most one, for the one reference", settings.references.len()),
        ));
    }
    Ok(())
}

/// The schema of [`Settings`]: the core knows nothing of `OpenAPI`.
pub struct SettingsSchema;

impl ToSchema for SettingsSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Settings".into()
    }
}

impl PartialSchema for SettingsSchema {
    fn schema() -> RefOr<Schema> {
        let percent = json!({"type": "integer", "minimum": 0, "maximum": 100});
        let own_percent = json!({"type": ["integer", "null"], "minimum": 0, "maximum": 100});
        let seconds = json!({"type": "number", "minimum": 0, "maximum": 86400});
        let places: Vec<&str> = destinations().iter().map(|row| row.key).collect();
        let formats: Vec<&str> = Codec::ALL.iter().map(|(name, _)| *name).collect();
        let schema = json!({
            "type": "object",
            "description": "What may be chosen for one master; {} needs no thought.",
            "additionalProperties": false,
            "properties": {
                "style": {"type": "string", "enum": Style::ALL.map(Style::name), "default": "balanced"},
                "strength": {
                    "type": "object", "additionalProperties": false,
                    "description": "0 leaves it alone, 100 goes as far as the style goes; an aspect without a value follows overall.",
                    "properties": {"overall": percent, "tone": own_percent, "dynamics": own_percent, "width": own_percent, "loudness": own_percent}
                },
                "loudness": {
                    "description": "What the style reaches, an integrated loudness, or a destination.",
                    "oneOf": [
                        {"type": "string", "enum": ["style"]},
                        {"type": "object", "additionalProperties": false, "required": ["lufs"],
                         "properties": {"lufs": {"type": "number", "minimum": -40, "maximum": -5}}},
                        {"type": "object", "additionalProperties": false, "required": ["destination"],
                         "properties": {"destination": {"type": "string", "enum": places}}}
                    ]
                },
                "ceiling": {"type": ["number", "null"], "minimum": -12, "maximum": 0, "description": "Highest true peak, dBTP."},
                "insist": {"type": "boolean", "description": "Meet the loudness even where it takes more limiting than the style allows itself."},
                "limiter": {
                    "type": "string", "enum": Limiting::ALL.map(Limiting::name), "default": "standard",
                    "description": "How peaks are taken off where more than about 2 dB are taken."
                },
                "phase": {"type": "string", "enum": ["minimum", "linear"]},
                "rate": {
                    "description": "Rate of the delivered files.",
                    "oneOf": [
                        {"type": "string", "enum": ["native"]},
                        {"type": "object", "additionalProperties": false, "required": ["hz"],
                         "properties": {"hz": {"type": "integer", "enum": [44100, 48000, 88200, 96000, 176_400, 192_000]}}}
                    ]
                },
                "formats": {
                    "type": "array", "minItems": 1, "maxItems": MOST_FORMATS,
                    "items": {"type": "string", "pattern": format!("^({})(@(44100|48000|96000))?$", formats.join("|"))},
                    "description": "Files to deliver; wav16@44100 for a rate of its own."
                },
                "edit": {
                    "type": "object", "additionalProperties": false,
                    "properties": {"trim_start": seconds, "trim_end": seconds, "fade_in": seconds, "fade_out": seconds}
                },
                "reference": {
                    "type": "object", "additionalProperties": false,
                    "description": "How much of a reference to take, where there is one.",
                    "properties": {"tone": own_percent, "dynamics": own_percent, "width": own_percent, "loudness": own_percent}
                },
                "references": {
                    "type": "array", "maxItems": 1,
                    "description": "What the reference is for; without it, for everything.",
                    "items": {
                        "type": "object", "additionalProperties": false,
                        "properties": {
                            "weight": {"type": "number", "minimum": 0.01, "maximum": 100},
                            "aspects": {"type": "array", "items": {"type": "string", "enum": Aspect::ALL.map(Aspect::name)}}
                        }
                    }
                },
                "material": {
                    "description": "What kind of recording it is; null: what the analysis finds.",
                    "oneOf": [{"type": "string", "enum": Material::ALL.map(Material::name)}, {"type": "null"}]
                },
                "fix": {
                    "type": "array", "uniqueItems": true, "maxItems": Fix::ALL.len(),
                    "items": {"type": "string", "enum": Fix::ALL.map(Fix::name)},
                    "description": "Faults of the mix to mend before it is mastered; only what a mix has is mended."
                },
                "tags": tags()
            }
        });
        match serde_json::from_value(schema) {
            Ok(schema) => RefOr::T(schema),
            Err(error) => unreachable!("the schema of the settings is one: {error}"),
        }
    }
}

/// The schema of [`TagWishes`].
fn tags() -> serde_json::Value {
    let one = |name: &'static str| {
        let schema = match name {
            "track" | "tracks" | "disc" | "discs" => {
                json!({"type": ["integer", "null"], "minimum": 1, "maximum": HIGHEST_NUMBER})
            }
            "isrc" => json!({
                "type": ["string", "null"], "example": "DE-A12-26-00001",
                "pattern": "^([A-Za-z]{2}-[A-Za-z0-9]{3}-[0-9]{2}-[0-9]{5}|[A-Za-z]{2}[A-Za-z0-9]{3}[0-9]{7})?$",
                "description": "International Standard Recording Code, with hyphens or without."
            }),
            // Lines it may have.
            "comment" => json!({
                "type": ["string", "null"], "maxLength": LONGEST_COMMENT,
                "pattern": "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*$"
            }),
            _ => json!({
                "type": ["string", "null"], "maxLength": LONGEST_TAG, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
            }),
        };
        (name.to_owned(), schema)
    };
    json!({
        "type": "object", "additionalProperties": false,
        "description": "What the masters say about themselves. A tag that is left out travels from the mix; an empty text keeps the mix's own \
            from travelling. The title is the title of the master, too.",
        "properties": TagWishes::NAMES.map(one).into_iter().collect::<serde_json::Map<_, _>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_met_is_refused_at_once() {
        let refused = |json: &str| validate(&serde_json::from_str(json).unwrap()).unwrap_err();
        for (json, code) in [
            (r#"{"loudness":{"lufs":3}}"#, "plan.out_of_range"),
            (r#"{"loudness":{"destination":"mars"}}"#, "plan.unknown_destination"),
            (r#"{"ceiling":1}"#, "plan.out_of_range"),
            (r#"{"edit":{"fade_in":-1}}"#, "plan.out_of_range"),
            (r#"{"formats":[]}"#, "plan.out_of_range"),
            (r#"{"strength":{"overall":101}}"#, "plan.out_of_range"),
            (r#"{"references":[{},{}]}"#, "plan.out_of_range"),
            (r#"{"references":[{"weight":0}]}"#, "plan.out_of_range"),
            (r#"{"tags":{"isrc":"DE-A12-26-1"}}"#, "tags.isrc"),
            (r#"{"tags":{"track":0}}"#, "tags.number"),
            (r#"{"tags":{"title":"a\nb"}}"#, "tags.control_character"),
        ] {
            assert_eq!(refused(json).code(), code, "{json}");
        }
        assert!(validate(&Settings::default()).is_ok());
    }

    #[test]
    fn the_schema_names_every_setting() {
        let RefOr::T(schema) = SettingsSchema::schema() else { panic!("inline") };
        let schema = serde_json::to_value(schema).unwrap();
        // What is left out where there is nothing to say is a setting, too.
        let whole = Settings {
            references: vec![loopmaster_core::settings::ReferenceUse::default()],
            material: Some(Material::Speech),
            fix: Fix::ALL.to_vec(),
            limiter: Limiting::Finest,
            tags: TagWishes { title: Some("Title".to_owned()), ..TagWishes::default() },
            ..Settings::default()
        };
        let serde_json::Value::Object(all) = serde_json::to_value(whole).unwrap() else { panic!("object") };
        for name in all.keys() {
            assert!(schema["properties"].get(name).is_some(), "{name}");
        }
        assert_eq!(schema["properties"].as_object().unwrap().len(), all.len());
    }
}
