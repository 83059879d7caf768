//! What every page must keep, whatever the music.

use super::{Report, demo};
use std::fmt::Write as _;

/// Most bytes of a page.
const SIZE: usize = 150_000;

fn all() -> [(&'static str, Report); 4] {
    [
        ("report", demo::report()),
        ("untouched", demo::untouched()),
        ("short", demo::short()),
        ("hostile", demo::hostile()),
    ]
}

/// Every drawing of a page.
fn drawings(page: &str) -> Vec<&str> {
    // A drawing holds at most one inner layer.
    let whole = |rest: &'_ str| {
        let close = rest.find("</svg>").unwrap() + 6;
        if rest[..close].contains("<svg") { close + rest[close..].find("</svg>").unwrap() + 6 } else { close }
    };
    page.split("<svg class=\"plot ").skip(1).map(|rest| &rest[..whole(rest)]).collect()
}

#[test]
fn pages_are_self_contained_and_small() {
    for (name, report) in all() {
        let page = report.to_html();
        println!("{name}: {} bytes", page.len());
        assert!(page.len() < SIZE, "{name} has {} bytes", page.len());
        for banned in
            ["http://", "https://", "url(", "@import", "<script", "<link", "<img", "<iframe", " onerror=\"", "src="]
        {
            // The hostile report holds some of these as text: there they stand escaped, and only the quotes of an attribute count.
            let page =
                if name == "hostile" { page.replace("src=x", "").replace("onerror=&quot;", "") } else { page.clone() };
            assert!(!page.contains(banned), "{name} contains {banned}");
        }
        assert!(page.contains("default-src 'none'"), "{name}");
    }
}

#[test]
fn pages_have_every_section() {
    let page = demo::report().to_html();
    for heading in [
        "What we did",
        "About your mix",
        "Over time",
        "Tone",
        "Measured",
        "Chain",
        "Dynamics per band",
        "Files",
        "Checks",
    ] {
        assert!(page.contains(&format!("<h2>{heading}</h2>")), "no {heading}");
    }
    for plot in ["waveform", "loudness", "reduction", "spectrum", "tone"] {
        assert_eq!(page.matches(&format!("<svg class=\"plot plot-{plot}")).count(), 1, "{plot}");
    }
    assert_eq!(page.matches("<svg class=\"plot plot-bands\"").count(), 3);
    let spectrum = page.split("<svg class=\"plot plot-spectrum").nth(1).unwrap();
    assert!(spectrum.split("</svg>").next().unwrap().contains("class=\"target\""), "no target in the spectrum");
    assert!(page.contains("<strong>Verified</strong>") && page.contains("All 27 checks passed"));
    for figure in ["−17.3", "−11.0", "0:41.2", "1:54.8", "64.4\u{202f}MB", "x86-64 with AVX2 and FMA"] {
        assert!(page.contains(figure), "no {figure}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "a figure is not a number");
}

#[test]
fn drawings_are_well_formed_and_speak() {
    for (name, report) in all() {
        let page = report.to_html();
        let drawings = drawings(&page);
        assert!(!drawings.is_empty());
        for drawing in drawings {
            let xml = format!("<svg class=\"plot {drawing}");
            let document = roxmltree::Document::parse(&xml)
                .unwrap_or_else(|e| panic!("{name}: {e}: {}", &xml[..xml.len().min(300)]));
            let root = document.root_element();
            assert_eq!(root.attribute("role"), Some("img"));
            for (child, tag) in root.children().zip(["title", "desc"]) {
                assert_eq!(child.tag_name().name(), tag);
                assert!(child.text().is_some_and(|text| text.len() > 10), "{name}: {}", &xml[..xml.len().min(300)]);
            }
            for node in document.descendants() {
                for attribute in node.attributes() {
                    assert!(!attribute.value().contains("NaN"), "{name}: {}={}", attribute.name(), attribute.value());
                }
            }
        }
    }
}

#[test]
fn nothing_from_a_file_becomes_markup() {
    let page = demo::hostile().to_html();
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("<img"));
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("And 18 more in the JSON report."));
    assert!(page.contains("Not verified") && page.contains("1 of 27 checks failed"));
}

#[test]
fn a_page_says_when_nothing_was_changed_or_nothing_can_be_said() {
    let page = demo::untouched().to_html();
    assert!(page.contains("The master is your mix, sample for sample."));
    assert!(!page.contains("plot plot-reduction"));
    let page = demo::short().to_html();
    assert!(page.contains("Too short for a spectrum.") && page.contains("Nothing to fix before release."));
    assert!(!page.contains("plot plot-loudness") && page.contains("plot plot-waveform"));
    assert!(page.contains("<h1 class=\"short\" dir=\"auto\">click</h1>"), "the file's stem is the title");
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for ((name, one), (_, other)) in all().into_iter().zip(all()) {
        assert_eq!(one.to_html(), other.to_html(), "{name}");
        assert_eq!(one.to_json().unwrap(), other.to_json().unwrap(), "{name}");
    }
}

#[test]
fn json_comes_back_whole_but_for_the_waveforms() {
    for (name, mut report) in all() {
        let json = report.to_json().unwrap();
        assert!(!json.contains("waveform") && !json.contains("matrix"), "{name}");
        let back: Report = serde_json::from_str(&json).unwrap();
        report.mix.waveform = crate::analyse::Waveform::default();
        report.master.waveform = crate::analyse::Waveform::default();
        assert!(back == report, "{name} came back otherwise");
        // The page of a report that was read back lacks one drawing.
        assert!(!back.to_html().contains("plot plot-waveform"));
    }
}

#[test]
fn colours_are_readable_on_their_ground() {
    // WCAG 2.2, 1.4.3: 4.5:1 for text, 3:1 for large text (the amber figures) and, 1.4.11, for drawings.
    let css = include_str!("page.css");
    let themes: Vec<&str> = css.split(":root{").skip(1).map(|rest| &rest[..rest.find('}').unwrap()]).collect();
    assert_eq!(themes.len(), 2);
    let mut said = String::new();
    for theme in themes {
        let luminance = |name: &str| {
            let start = theme.find(&format!("--{name}:#")).unwrap_or_else(|| panic!("no --{name}")) + name.len() + 4;
            let hex: String = theme[start..].chars().take_while(char::is_ascii_hexdigit).collect();
            let hex = if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex };
            let part = |i: usize| {
                let c = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
                if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
        };
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        for (ink, bound) in [
            ("text", 4.5),
            ("muted", 4.5),
            ("mix", 4.5),
            ("master-ink", 4.5),
            ("good", 4.5),
            ("bad", 4.5),
            ("master", 3.0),
            ("target", 3.0),
        ] {
            let ratio = contrast(luminance(ink), luminance("ground"));
            let _ = write!(said, "{ink} {ratio:.1} ");
            assert!(ratio >= bound, "{ink} has {ratio:.2}, needs {bound}");
        }
    }
    println!("{said}");
}

#[test]
#[ignore = "writes the pages to the system's folder for temporary files, to look at"]
fn write_the_pages() {
    let folder = std::env::temp_dir().join("loopmastering-report");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, report) in all() {
        std::fs::write(folder.join(format!("{name}.html")), report.to_html()).unwrap();
        std::fs::write(folder.join(format!("{name}.json")), report.to_json().unwrap()).unwrap();
    }
    println!("{}", folder.display());
}
