//! What people read when the API says no: one sentence for each code, with the values it needs and one thing to do. The API's own
//! `detail` is for programs and never reaches a page. The scripts read the same table (`edge/web/src/sentence.ts`).

use serde_json::Value;
use std::sync::LazyLock;

static SENTENCES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("sentences.json")).unwrap_or_default());

/// The sentence of a code; a code without its own gets that of its part (`decode.*`). `body` has the values.
#[must_use]
pub fn sentence(code: &str, body: &Value) -> String {
    let part = format!("{}.*", code.split('.').next().unwrap_or_default());
    let known = [code, part.as_str(), "*"].into_iter().find_map(|key| filled(SENTENCES[key].as_str()?, body));
    known.unwrap_or_default()
}

/// The sentence with its values; `None` where one is missing.
fn filled(sentence: &str, body: &Value) -> Option<String> {
    let Some((before, rest)) = sentence.split_once('{') else { return Some(sentence.to_owned()) };
    let (name, after) = rest.split_once('}')?;
    let value = match &body[name] {
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        _ => return None,
    };
    Some(format!("{before}{value}{}", filled(after, body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_code_has_a_sentence_and_no_detail_comes_through() {
        let body = json!({ "detail": "zip of 3, cannot be; wait 33603 s", "limit": 5 });
        for (code, said) in [
            ("decode.not_audio", "not audio"),
            ("decode.from_the_future", "Export it again as WAV or FLAC"),
            ("share.too_many", "has 5 links"),
            // Without a clock here there is no time of day to name.
            ("rate.exceeded", "Try again in a moment"),
            ("odd", "Try again in a moment"),
            ("", "Try again in a moment"),
        ] {
            let text = sentence(code, &body);
            assert!(text.contains(said) && !text.contains("33603") && !text.contains('{'), "{code}: {text}");
        }
        for (code, text) in SENTENCES.as_object().unwrap() {
            let text = text.as_str().unwrap();
            assert!(text.ends_with(['.', '?']), "{code}: {text}");
            assert!(text.chars().next().is_some_and(|c| c.is_uppercase() || c == '{'), "{code}: {text}");
        }
    }
}
