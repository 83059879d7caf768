//! Forms that are sent without a script: each becomes one request to the api, and its answer a redirect, so that reloading repeats
//! nothing.

use crate::answers::{add_cookies, encode, path_word, see_other};
use crate::context::{Data, Edge};
use crate::cookies;
use crate::documents::{self, Told};
use crate::pages::view::Me;
use crate::problem::Problem;
use crate::routes::{Page, Route, local};
use crate::wishes;
use crate::world::{Reply, World};
use http::{HeaderValue, Method, StatusCode, header};
use loopmaster_core::retention::POLICY;
use loopmaster_core::signing::is_our_path;
use serde_json::{Map, Value, json};

/// The fields of a form, in their order.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(field, value)| field == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// An object of these fields, without those that are empty.
    fn object(&self, names: &[&str]) -> Map<String, Value> {
        let given = names.iter().filter(|name| !self.get(name).is_empty());
        given.map(|name| ((*name).to_owned(), Value::from(self.get(name)))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    fn ticked(&self, name: &str) -> bool {
        matches!(self.get(name), "on" | "true" | "1")
    }

    /// An id or token that becomes part of a path. Whatever else was typed finds nothing there.
    fn word(&self, name: &str) -> &str {
        let text = self.get(name);
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if plain { text } else { "-" }
    }
}

/// What a form asks of the api, and where to go then.
struct Wanted {
    method: Method,
    path: String,
    body: Value,
    then: Then,
}

/// What follows a form that was accepted.
enum Then {
    /// Another page.
    Go(String),
    /// The page of the first master that was made.
    NewMaster,
    /// The page to type the code into, and where to go then.
    Code(String),
    /// To be asked about a guest's masters if there are any, else onward.
    SignedIn(String),
    /// Elsewhere, where the field `url` says: its name for people.
    Away(&'static str),
    /// The page itself, which shows what came back once, and a sentence.
    Show(&'static str),
}

/// Answers a form.
pub(crate) async fn submit<W: World>(edge: &Edge<'_, W>, page: Page<'_>, form: &str, body: &[u8]) -> Reply<W::Answer> {
    let route = Route::Form(page, "");
    let fields = Fields::read(body);
    if (page, form) == (Page::SignIn, "merge") && fields.get("keep") == "leave" {
        return see_other(local(fields.get("next")));
    }
    if (page, form) == (Page::Privacy, "seen") {
        return policy_seen(edge, fields.get("next"));
    }
    if (page, form) == (Page::Account, "delete")
        && let Err(reply) = confirmed(edge, &fields).await
    {
        return reply;
    }
    let wanted = match wanted(page, form, body) {
        Ok(wanted) => wanted,
        Err(problem) => {
            let told = Told { notice: Some((false, problem.detail)), status: Some(problem.status), ..Told::default() };
            return documents::draw(edge, page, told).await;
        }
    };
    let sent = (wanted.method != Method::DELETE).then(|| wanted.body.to_string().into_bytes());
    match edge.ask(wanted.method, &wanted.path, sent).await {
        Err(problem) => documents::refuse(edge, route, &problem),
        Ok(data) if data.status.is_success() => follow(edge, page, wanted.then, data).await,
        Ok(data) => refused(edge, page, fields, &data).await,
    }
}

/// What the api refuses is said on the form's own page, where it can be put right; what no other entry would change has its own page.
async fn refused<W: World>(edge: &Edge<'_, W>, page: Page<'_>, fields: Fields, data: &Data) -> Reply<W::Answer> {
    let hopeless = matches!(data.status.as_u16(), 401 | 404 | 500..);
    if hopeless || documents::code(data) == "auth.recent_sign_in_required" {
        return documents::failure(edge, &Me::default(), data);
    }
    let told = Told {
        query: fields.0,
        notice: Some((false, documents::explained(data))),
        status: Some(data.status),
        ..Told::default()
    };
    let mut reply = documents::draw(edge, page, told).await;
    add_cookies(&mut reply, data);
    reply
}

/// Whoever deletes an account has typed its address.
async fn confirmed<W: World>(edge: &Edge<'_, W>, fields: &Fields) -> Result<(), Reply<W::Answer>> {
    let data = edge.ask(Method::GET, "/v1/me", None).await;
    let data = data.map_err(|problem| documents::refuse(edge, Route::Form(Page::Account, "delete"), &problem))?;
    let me: Me = serde_json::from_slice(&data.body).unwrap_or_default();
    let email = me.user.map(|user| user.email).unwrap_or_default();
    if !email.is_empty() && fields.get("confirm").eq_ignore_ascii_case(&email) {
        return Ok(());
    }
    let text = "Nothing was deleted: the address you typed is not the account's.";
    let status = Some(StatusCode::UNPROCESSABLE_ENTITY);
    let told = Told { notice: Some((false, text.to_owned())), status, ..Told::default() };
    Err(documents::draw(edge, Page::Account, told).await)
}

/// A guest has read that there is a new privacy policy. Its date goes into the cookie that they have anyway.
fn policy_seen<W: World>(edge: &Edge<'_, W>, next: &str) -> Reply<W::Answer> {
    let mut reply = see_other(if is_our_path(next) { next } else { "/privacy" });
    if let Some(guest) = &edge.guest {
        let left = guest.expiry.saturating_sub(edge.now);
        let cookie = cookies::set_guest(&guest.id, POLICY, &edge.config.cookie_keys[0], edge.now, left);
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    reply
}

async fn follow<W: World>(edge: &Edge<'_, W>, page: Page<'_>, then: Then, data: Data) -> Reply<W::Answer> {
    let answer: Value = serde_json::from_slice(&data.body).unwrap_or_default();
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut reply = match then {
        Then::Go(path) => see_other(&path),
        Then::NewMaster => {
            let id = Some(text("/id")).filter(|id| !id.is_empty()).unwrap_or_else(|| text("/items/0/id"));
            see_other(&format!("/m/{id}"))
        }
        Then::Code(next) => see_other(&format!("/sign-in?login={}&next={}", encode(&text("/login")), encode(&next))),
        Then::SignedIn(next) => {
            let guest_masters = answer["guest_masters"].as_u64().unwrap_or_default();
            see_other(&if guest_masters > 0 { format!("/sign-in?merge=1&next={}", encode(&next)) } else { next })
        }
        Then::Away(name) => away(edge, &text("/url"), name),
        Then::Show(said) => {
            let notice = (!said.is_empty()).then(|| (true, said.to_owned()));
            documents::draw(edge, page, Told { answer, notice, ..Told::default() }).await
        }
    };
    add_cookies(&mut reply, &data);
    reply
}

/// To another address. Browsers hold a form's redirects to `form-action`, which allows ourselves alone, so a page leads on.
fn away<W: World>(edge: &Edge<'_, W>, url: &str, name: &str) -> Reply<W::Answer> {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return see_other("/");
    }
    let mut reply = documents::onward(edge, url, name);
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={url}")) {
        reply.headers_mut().insert(header::REFRESH, refresh);
    }
    reply
}

fn wanted(page: Page<'_>, form: &str, body: &[u8]) -> Result<Wanted, Problem> {
    let fields = Fields::read(body);
    let go = |path: &str| Then::Go(path.to_owned());
    let next = || local(fields.get("next")).to_owned();
    let post = |path: String, body: Value, then: Then| Ok(Wanted { method: Method::POST, path, body, then });
    let nothing = || json!({});
    match (page, form) {
        (Page::Master(id), "") => {
            // The box that keeps the reference is not part of the settings; unticked boxes are not sent.
            let dropped = fields.has("has_reference") && !fields.ticked("same_reference");
            let mut rest = form_urlencoded::Serializer::new(String::new());
            rest.extend_pairs(
                form_urlencoded::parse(body).filter(|(name, _)| name != "has_reference" && name != "same_reference"),
            );
            let settings = wishes::settings(rest.finish().as_bytes())
                .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()))?;
            let mut again = json!({ "settings": settings });
            if dropped {
                again["reference_upload"] = Value::Null;
            }
            post(format!("/v1/masters/{id}/rerun"), again, Then::NewMaster)
        }
        (Page::Master(id), "cancel") => {
            post(format!("/v1/masters/{id}/cancel"), nothing(), Then::Go(format!("/m/{id}")))
        }
        (Page::Master(id), "delete") => {
            let body = json!({ "ids": [id], "keep_mix": fields.ticked("keep_mix") });
            post("/v1/masters/delete".to_owned(), body, go("/library?said=deleted"))
        }
        (Page::Master(id), "share") if !fields.get("remove").is_empty() => Ok(Wanted {
            method: Method::DELETE,
            path: format!("/v1/shares/{}", fields.word("remove")),
            body: Value::Null,
            then: Then::Go(format!("/m/{id}?said=removed")),
        }),
        (Page::Master(id), "share") => post(format!("/v1/masters/{id}/shares"), nothing(), Then::Show("")),
        (Page::Batch(id), "zip") => post("/v1/zips".to_owned(), json!({ "batch": id }), Then::Away("the download")),
        (Page::Batch(id), _) => {
            let mut change = fields.object(&["name"]);
            let order: Vec<&str> = fields.get("order").split_whitespace().collect();
            if !order.is_empty() {
                change.insert("order".to_owned(), json!(order));
            }
            // An unticked box is not sent; the form that has it also has the name.
            if fields.has("name") {
                change.insert("album".to_owned(), json!(fields.ticked("album")));
            }
            let then = Then::Go(format!("/b/{id}?said=saved"));
            Ok(Wanted { method: Method::PATCH, path: format!("/v1/batches/{id}"), body: change.into(), then })
        }
        (Page::Library, "zip") => {
            post("/v1/zips".to_owned(), json!({ "masters": fields.all("id") }), Then::Away("the download"))
        }
        (Page::Library, "mix") if fields.get("action") == "delete" => Ok(Wanted {
            method: Method::DELETE,
            path: format!("/v1/uploads/{}", fields.word("id")),
            body: Value::Null,
            then: go("/library?said=mix-removed"),
        }),
        (Page::Library, "mix") => {
            post("/v1/masters".to_owned(), json!({ "uploads": [fields.word("id")] }), go("/library"))
        }
        (Page::Library, "delete") => {
            let body = json!({ "ids": fields.all("id"), "keep_mix": fields.ticked("keep_mix") });
            post("/v1/masters/delete".to_owned(), body, go("/library?said=deleted"))
        }
        (Page::Library, _) => {
            post("/v1/masters/restore".to_owned(), json!({ "ids": fields.all("id") }), go("/library?said=restored"))
        }
        (Page::SignIn, "") => {
            let body = json!({ "email": fields.get("email"), "of_age": fields.ticked("of_age") });
            post("/v1/auth/email".to_owned(), body, Then::Code(next()))
        }
        (Page::SignIn, "code") => {
            let digits: String = fields.get("code").chars().filter(char::is_ascii_digit).collect();
            let body = json!({ "login": fields.get("login"), "code": digits });
            post("/v1/auth/email/code".to_owned(), body, Then::SignedIn(next()))
        }
        (Page::SignIn, "google") => post(
            "/v1/auth/google".to_owned(),
            json!({ "of_age": fields.ticked("of_age"), "next": next() }),
            Then::Away("Google"),
        ),
        (Page::SignIn, "merge") => post("/v1/auth/merge".to_owned(), nothing(), Then::Go(next())),
        (Page::SignIn, _) => post("/v1/auth/sign-out".to_owned(), nothing(), go("/")),
        (Page::Link(token), _) => post(format!("/v1/auth/link/{token}"), nothing(), Then::SignedIn(next())),
        (Page::Confirm(token), _) => {
            post(format!("/v1/confirmations/{token}"), nothing(), Then::Go(format!("/confirm/{token}")))
        }
        (Page::Contact, _) => {
            let body =
                json!({ "topic": fields.get("topic"), "email": fields.get("email"), "message": fields.get("message") });
            post("/v1/contact".to_owned(), body, Then::Show(""))
        }
        (Page::Account, form) => account(form, &fields),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "edge.not_found", "there is no such form")),
    }
}

fn account(form: &str, fields: &Fields) -> Result<Wanted, Problem> {
    let say = |said: &str| Then::Go(format!("/account?said={said}"));
    let post =
        |path: &str, body: Value, then: Then| Ok(Wanted { method: Method::POST, path: path.to_owned(), body, then });
    let delete =
        |path: String, said: &str| Ok(Wanted { method: Method::DELETE, path, body: Value::Null, then: say(said) });
    match form {
        "" => {
            let mut change = Map::new();
            // An unticked box is not sent; the form that has it also has the name.
            if fields.has("name") {
                change.insert("name".to_owned(), json!(fields.get("name")));
                change.insert("mail_when_ready".to_owned(), json!(fields.ticked("mail_when_ready")));
            }
            if fields.ticked("accept_policy") {
                change.insert("accept_policy".to_owned(), json!(true));
            }
            Ok(Wanted { method: Method::PATCH, path: "/v1/me".to_owned(), body: change.into(), then: say("saved") })
        }
        "email" => post(
            "/v1/me/email",
            json!({ "email": fields.get("email") }),
            Then::Show("Open the links we sent to both addresses. Until then nothing changes."),
        ),
        "remove-preset" => delete(format!("/v1/presets/{}", path_word(fields.get("id"))), "removed"),
        "remove-picture" => delete("/v1/me/picture".to_owned(), "removed"),
        "revoke" => delete(format!("/v1/me/sessions/{}", fields.word("id")), "revoked"),
        "revoke-others" => post("/v1/me/sessions/revoke-others", json!({}), say("revoked")),
        "token" => {
            let mut token = fields.object(&["name"]);
            token.insert("scopes".to_owned(), json!(fields.all("scopes")));
            if let Ok(days) = fields.get("days").parse::<u32>() {
                token.insert("days".to_owned(), json!(days));
            }
            post("/v1/me/tokens", token.into(), Then::Show(""))
        }
        "remove-token" => delete(format!("/v1/me/tokens/{}", fields.word("id")), "removed"),
        "webhook" => post("/v1/me/webhooks", fields.object(&["url"]).into(), Then::Show("")),
        "remove-webhook" => delete(format!("/v1/me/webhooks/{}", fields.word("id")), "removed"),
        "rotate-webhook" => post(&format!("/v1/me/webhooks/{}/rotate", fields.word("id")), json!({}), Then::Show("")),
        "test-webhook" => post(&format!("/v1/me/webhooks/{}/test", fields.word("id")), json!({}), say("tested")),
        "export" => post("/v1/me/export", json!({}), say("exporting")),
        "delete" => post("/v1/me/delete", json!({}), say("leaving")),
        "keep" => post("/v1/me/keep", json!({}), say("kept")),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "edge.not_found", "there is no such form")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(page: Page<'_>, form: &str, body: &str) -> (Method, String, Value) {
        let wanted = wanted(page, form, body.as_bytes()).unwrap();
        (wanted.method, wanted.path, wanted.body)
    }

    #[test]
    fn a_settings_form_becomes_a_rerun() {
        let (method, path, body) = want(Page::Master("mst_1"), "", "style=warm&loudness=-14");
        assert_eq!((method, path.as_str()), (Method::POST, "/v1/masters/mst_1/rerun"));
        assert_eq!(body["settings"]["style"], "warm");
        assert!(body.get("reference_upload").is_none(), "it follows the same reference");
        let kept = want(Page::Master("mst_1"), "", "style=warm&has_reference=on&same_reference=on").2;
        assert!(kept.get("reference_upload").is_none());
        let dropped = want(Page::Master("mst_1"), "", "style=warm&has_reference=on").2;
        assert_eq!(dropped.get("reference_upload"), Some(&Value::Null));
        let wrong = wanted(Page::Master("mst_1"), "", b"style=grim").err().unwrap();
        assert_eq!((wrong.status, wrong.code), (StatusCode::UNPROCESSABLE_ENTITY, "plan.unreadable_setting"));
    }

    #[test]
    fn a_mix_goes_with_its_master_unless_it_is_kept() {
        let deleted = |keep| json!({ "ids": ["mst_1"], "keep_mix": keep });
        assert_eq!(want(Page::Master("mst_1"), "delete", "").2, deleted(false));
        assert_eq!(want(Page::Master("mst_1"), "delete", "keep_mix=on").2, deleted(true));
        assert_eq!(want(Page::Library, "delete", "id=mst_1").2, deleted(false));
        assert_eq!(want(Page::Library, "delete", "id=mst_1&keep_mix=on").2, deleted(true));
        assert_eq!(want(Page::Library, "mix", "id=upl_1&action=master").2, json!({ "uploads": ["upl_1"] }));
        let (method, path, _) = want(Page::Library, "mix", "id=upl_1&action=delete");
        assert_eq!((method, path.as_str()), (Method::DELETE, "/v1/uploads/upl_1"));
    }

    #[test]
    fn people_type_codes_with_spaces() {
        let (_, path, body) = want(Page::SignIn, "code", "login=lgn_1&code=123+456");
        assert_eq!((path.as_str(), &body), ("/v1/auth/email/code", &json!({ "login": "lgn_1", "code": "123456" })));
    }

    #[test]
    fn an_unticked_box_is_told_from_one_that_is_not_there() {
        assert_eq!(want(Page::Account, "", "name=Ada").2, json!({ "name": "Ada", "mail_when_ready": false }));
        assert_eq!(want(Page::Account, "", "accept_policy=true").2, json!({ "accept_policy": true }));
        assert_eq!(want(Page::Batch("bat_1"), "", "order=mst_2+mst_1").2, json!({ "order": ["mst_2", "mst_1"] }));
    }

    #[test]
    fn ids_from_forms_stay_in_their_place_in_the_path() {
        assert_eq!(want(Page::Account, "revoke", "id=ses_1").1, "/v1/me/sessions/ses_1");
        assert_eq!(want(Page::Account, "revoke", "id=../../masters/mst_1").1, "/v1/me/sessions/-");
    }

    #[test]
    fn every_form_the_routes_know_is_understood() {
        let pages = [
            Page::Master("mst_1"),
            Page::Batch("bat_1"),
            Page::Library,
            Page::Account,
            Page::SignIn,
            Page::Link("t"),
            Page::Contact,
            Page::Confirm("t"),
        ];
        for page in pages {
            for form in page.forms() {
                assert!(wanted(page, form, b"").is_ok(), "{page:?} {form}");
            }
        }
    }
}
