//! Which request is what. Paths of the api are not looked into, beyond what limits and CSRF need.

use crate::limits::Class;
use crate::pages;
use http::Method;
use loopmaster_core::signing::is_our_path;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A page to read.
    Document(Page<'a>),
    /// A form that was sent without a script.
    Form(Page<'a>, &'a str),
    /// `/v1/…` and the Companion contract: on to the api under this path.
    Api {
        /// What the visitor's path begins with…
        from: &'static str,
        /// …and what the api's begins with instead.
        to: &'static str,
    },
    /// `/u/<grant>/…`: uploads from pages of others, without cookies.
    Grant,
    /// A file of ours, if there is one.
    Asset,
    /// Is the edge alive?
    Live,
    /// Where security problems are reported (RFC 9116).
    SecurityTxt,
    /// The path exists, the method does not; these do.
    WrongMethod(&'static str),
    /// Nothing.
    Nowhere,
}

/// The documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// `/`
    Home,
    /// `/m/<master>`
    Master(&'a str),
    /// `/b/<batch>`
    Batch(&'a str),
    /// `/library`
    Library,
    /// `/account`
    Account,
    /// `/sign-in`
    SignIn,
    /// `/auth/google/callback`
    Callback,
    /// `/l/<token>`, from a mail
    Link(&'a str),
    /// `/s/<share>`
    Share(&'a str),
    /// `/privacy`
    Privacy,
    /// `/privacy/<date>`: the policy as it was before
    EarlierPrivacy(&'a str),
    /// `/security`
    Security,
    /// `/confirm/<token>`, from a mail: whoever wrote a message says so
    Confirm(&'a str),
    /// `/terms`
    Terms,
    /// `/contact`
    Contact,
    /// `/status`
    Status,
    /// `/api`
    Api,
}

impl<'a> Page<'a> {
    /// The page at a path, and what follows it: the name of a form.
    fn at(path: &'a str) -> Option<(Self, &'a str)> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        let plain = |page| Some((page, second.unwrap_or_default())).filter(|_| third.is_none());
        let named = |page: fn(&'a str) -> Self, prefix: &str| {
            let id = second.filter(|id| id.starts_with(prefix) && is_word(id))?;
            Some((page(id), third.unwrap_or_default()))
        };
        match first {
            "" if second.is_none() => Some((Self::Home, "")),
            "m" => named(Self::Master, "mst_"),
            "b" => named(Self::Batch, "bat_"),
            "l" => named(Self::Link, ""),
            "s" => named(Self::Share, ""),
            "library" => plain(Self::Library),
            "account" => plain(Self::Account),
            "sign-in" => plain(Self::SignIn),
            "auth" if (second, third) == (Some("google"), Some("callback")) => Some((Self::Callback, "")),
            "privacy" => match second {
                Some(date) if third.is_none() && pages::earlier_policy(date).is_some() => {
                    Some((Self::EarlierPrivacy(date), ""))
                }
                _ => plain(Self::Privacy),
            },
            "security" => plain(Self::Security),
            "confirm" => named(Self::Confirm, ""),
            "terms" => plain(Self::Terms),
            "contact" => plain(Self::Contact),
            "status" => plain(Self::Status),
            "api" => plain(Self::Api),
            _ => None,
        }
    }

    /// The forms a page has, by the last part of the path they are sent to; empty is the page's own path.
    #[must_use]
    pub fn forms(self) -> &'static [&'static str] {
        match self {
            Self::Master(_) => &["", "cancel", "delete", "share"],
            Self::Batch(_) => &["", "zip"],
            Self::Library => &["delete", "restore", "zip", "mix"],
            Self::Account => &[
                "",
                "email",
                "remove-picture",
                "remove-preset",
                "revoke",
                "revoke-others",
                "token",
                "remove-token",
                "webhook",
                "remove-webhook",
                "rotate-webhook",
                "test-webhook",
                "export",
                "delete",
                "keep",
            ],
            Self::SignIn => &["", "code", "google", "merge", "out"],
            Self::Link(_) | Self::Contact | Self::Confirm(_) => &[""],
            Self::Privacy => &["seen"],
            _ => &[],
        }
    }
}

/// Letters, digits, `_` and `-`: what ids and tokens are made of.
fn is_word(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether some machine on the way might read another path than we do.
fn is_ambiguous(path: &str) -> bool {
    let lower =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    lower.contains("//") || lower.split('/').any(|part| part == "." || part == "..")
}

impl<'a> Route<'a> {
    /// Reads method and path.
    #[must_use]
    pub fn of(method: &Method, path: &'a str) -> Self {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if is_ambiguous(path) {
            return Self::Nowhere;
        }
        if path.starts_with("/v1/") {
            return Self::Api { from: "", to: "" };
        }
        if path.starts_with("/companion/s3/") {
            return Self::Api { from: "/companion/", to: "/v1/companion/" };
        }
        if let Some(rest) = path.strip_prefix("/u/") {
            let grant = rest.split_once("/s3/").map(|(grant, _)| grant);
            return if grant.is_some_and(is_word) { Self::Grant } else { Self::Nowhere };
        }
        if path == "/livez" {
            return if reads { Self::Live } else { Self::WrongMethod("GET, HEAD") };
        }
        if path == "/.well-known/security.txt" {
            return if reads { Self::SecurityTxt } else { Self::WrongMethod("GET, HEAD") };
        }
        match Page::at(path) {
            Some((page, "")) if reads => Self::Document(page),
            Some((page, form)) if page.forms().contains(&form) => match (reads, *method == Method::POST) {
                (_, true) => Self::Form(page, form),
                // Whoever reloads the answer to a form reads its page.
                (true, _) => Self::Document(page),
                _ => Self::WrongMethod("GET, HEAD, POST"),
            },
            Some((_, "")) => Self::WrongMethod("GET, HEAD"),
            None if reads => Self::Asset,
            _ => Self::Nowhere,
        }
    }
}

/// The class of a request to the api.
#[must_use]
pub fn api_class(method: &Method, path: &str) -> Class {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let mut parts = path.split('/').skip(1);
    match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
        ("auth", Some("email"), None) | ("contact", ..) | ("me", Some("email"), _) if !reads => Class::Mail,
        ("auth" | "confirmations", ..) if !reads => Class::Login,
        ("uploads", Some(_), _) | ("companion" | "u", ..) => Class::Upload,
        _ if reads => Class::Read,
        _ => Class::Create,
    }
}

/// The class of a form.
#[must_use]
pub fn form_class(page: Page<'_>, form: &str) -> Class {
    match (page, form) {
        (Page::SignIn, "") | (Page::Contact, _) | (Page::Account, "email") => Class::Mail,
        (Page::SignIn, "code" | "google" | "merge") | (Page::Link(_) | Page::Confirm(_), _) => Class::Login,
        _ => Class::Create,
    }
}

/// Where to go on to: a path of ours, or the library.
#[must_use]
pub fn local(path: &str) -> &str {
    if is_our_path(path) { path } else { "/library" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Route<'_> {
        Route::of(&Method::GET, path)
    }

    fn post(path: &str) -> Route<'_> {
        Route::of(&Method::POST, path)
    }

    #[test]
    fn every_page_has_its_path() {
        for (path, page) in [
            ("/", Page::Home),
            ("/m/mst_1a", Page::Master("mst_1a")),
            ("/b/bat_1a", Page::Batch("bat_1a")),
            ("/library", Page::Library),
            ("/account", Page::Account),
            ("/sign-in", Page::SignIn),
            ("/auth/google/callback", Page::Callback),
            ("/l/abc-_1", Page::Link("abc-_1")),
            ("/s/lmh_x", Page::Share("lmh_x")),
            ("/privacy", Page::Privacy),
            ("/privacy/2026-11-30", Page::EarlierPrivacy("2026-11-30")),
            ("/privacy/2026-11-25", Page::EarlierPrivacy("2026-11-25")),
            ("/security", Page::Security),
            ("/confirm/lmv_x", Page::Confirm("lmv_x")),
            ("/terms", Page::Terms),
            ("/contact", Page::Contact),
            ("/status", Page::Status),
            ("/api", Page::Api),
        ] {
            assert_eq!(get(path), Route::Document(page), "{path}");
            assert_eq!(Route::of(&Method::HEAD, path), Route::Document(page));
            assert!(matches!(Route::of(&Method::PUT, path), Route::WrongMethod(_)), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_nowhere() {
        for path in [
            "/m/",
            "/m/art_1",
            "/m/mst_1/../x",
            "/m/mst_1%00",
            "/library/x",
            "/privacy/2020-01-01",
            "/privacy/2026-11-25/x",
            "/security/x",
            "/.well-known/x",
            "/u/grant",
            "/u//s3/x",
            "/v1/../metrics",
            "/v1//x",
            "/V1/%2E%2e/metrics",
        ] {
            assert!(matches!(get(path), Route::Nowhere | Route::Asset), "{path}: {:?}", get(path));
            assert_eq!(post(path), Route::Nowhere, "{path}");
        }
        assert_eq!(get("/metrics"), Route::Asset, "not the api's");
    }

    #[test]
    fn forms_belong_to_their_pages() {
        assert_eq!(post("/m/mst_1"), Route::Form(Page::Master("mst_1"), ""));
        assert_eq!(post("/m/mst_1/delete"), Route::Form(Page::Master("mst_1"), "delete"));
        assert_eq!(get("/m/mst_1/delete"), Route::Document(Page::Master("mst_1")));
        assert_eq!(post("/sign-in/out"), Route::Form(Page::SignIn, "out"));
        assert_eq!(post("/privacy"), Route::WrongMethod("GET, HEAD"));
        assert_eq!(post("/privacy/seen"), Route::Form(Page::Privacy, "seen"));
        assert_eq!(post("/confirm/lmv_x"), Route::Form(Page::Confirm("lmv_x"), ""));
        assert_eq!(get("/.well-known/security.txt"), Route::SecurityTxt);
        assert_eq!(post("/.well-known/security.txt"), Route::WrongMethod("GET, HEAD"));
    }

    #[test]
    fn the_api_is_reached_by_three_doors() {
        assert_eq!(post("/v1/uploads"), Route::Api { from: "", to: "" });
        assert_eq!(get("/companion/s3/params"), Route::Api { from: "/companion/", to: "/v1/companion/" });
        assert_eq!(Route::of(&Method::OPTIONS, "/u/lmg_1/s3/multipart"), Route::Grant);
    }

    #[test]
    fn classes_follow_what_a_request_costs() {
        let class = |method: Method, path| api_class(&method, path);
        assert_eq!(class(Method::GET, "/v1/masters"), Class::Read);
        assert_eq!(class(Method::POST, "/v1/masters"), Class::Create);
        assert_eq!(class(Method::POST, "/v1/uploads"), Class::Create);
        assert_eq!(class(Method::POST, "/v1/uploads/upl_1/parts"), Class::Upload);
        assert_eq!(class(Method::GET, "/v1/companion/s3/params"), Class::Upload);
        assert_eq!(class(Method::POST, "/v1/auth/email"), Class::Mail);
        assert_eq!(class(Method::POST, "/v1/auth/email/code"), Class::Login);
        assert_eq!(class(Method::GET, "/v1/auth/email/lgn_1"), Class::Read);
        assert_eq!(class(Method::POST, "/v1/contact"), Class::Mail);
        assert_eq!(class(Method::POST, "/v1/me/email"), Class::Mail);
    }

    #[test]
    fn nobody_is_led_to_another_site() {
        let elsewhere = [
            "https://evil",
            "//evil",
            "/\\evil",
            "/\t/evil",
            "/\n/evil",
            "",
            "evil",
            "/a b",
            "/ä",
            "javascript:alert(1)",
        ];
        for elsewhere in elsewhere {
            assert_eq!(local(elsewhere), "/library", "{elsewhere}");
        }
        for ours in ["/", "/m/mst_1?a=b#c", "/library?q=a"] {
            assert_eq!(local(ours), ours);
        }
    }
}
