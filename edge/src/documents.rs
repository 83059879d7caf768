//! The pages: what each needs of the api, asked for at once, and what is shown when the api says no or nothing.

use crate::answers::{add_cookies, encode, see_other};
use crate::assets;
use crate::context::{Data, Edge, PATIENCE_OF_PAGES};
use crate::pages::view::{
    Batch, Confirmation, Destination, Export, Link, Master, Masters, Me, Mix, Preset, Session, Share, Status, Token,
    Webhook,
};
use crate::pages::{self, Files, Frame, Notice, SignInStep};
use crate::problem::Problem;
use crate::routes::{Page, Route, local};
use crate::world::{Body, Reply, World};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::join;
use http::{HeaderValue, Method, Response, StatusCode, header};
use loopmaster_core::retention::{POLICY, UNDO, duration};
use maud::Markup;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::io::Write as _;

/// Documents smaller than this are not worth packing, bytes.
const WORTH_PACKING: usize = 1024;
/// Tracks on one page of the library.
const LIBRARY_PAGE: u32 = 50;
/// Versions of a song that its page names.
const VERSIONS: u32 = 20;
const DOWN: &str =
    "The mastering service does not answer at the moment. Nothing is lost; this page goes on when it is back.";

/// What a page is drawn with besides the api's data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The fields of the query, or of the form that led here.
    pub query: Vec<(String, String)>,
    /// What a form brought back and is shown once.
    pub answer: Value,
    /// What to say at the top; `true`: good news.
    pub notice: Option<(bool, String)>,
    /// The answer's status, if it is not 200.
    pub status: Option<StatusCode>,
}

impl Told {
    fn get(&self, name: &str) -> &str {
        self.query.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }
}

/// Why a page has no data.
enum Missing {
    /// The api is away.
    Down(Problem),
    /// The api says no.
    No(Data),
}

/// What a redirect may say on the page it leads to: texts of ours by name, never text from the address.
fn said(name: &str) -> Option<String> {
    let text = match name {
        "saved" => "Saved.",
        "deleted" => return Some(format!("Deleted. For {} it can still be restored.", duration(UNDO))),
        "restored" => "Restored.",
        "revoked" => "Signed out there.",
        "removed" => "Removed.",
        "moved" => "Moved into your account.",
        "tested" => "A test is on its way.",
        "exporting" => "Your archive is being made. Come back in a few minutes.",
        "leaving" => "Your account will be deleted. Until then you can keep it.",
        "kept" => "Your account stays.",
        "mix-removed" => "The mix is deleted.",
        "confirm" => {
            "Google does not run the mailbox of your address, so we make sure that it is yours. Next time Google alone will do."
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Draws the page that was asked for.
pub(crate) async fn show<W: World>(edge: &Edge<'_, W>, page: Page<'_>) -> Reply<W::Answer> {
    let query = form_urlencoded::parse(edge.asked.uri.query().unwrap_or_default().as_bytes());
    let query: Vec<_> = query.take(32).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let mut told = Told { query, ..Told::default() };
    told.notice = said(told.get("said")).map(|text| (true, text));
    draw(edge, page, told).await
}

/// Draws a page and what there is to tell.
pub(crate) async fn draw<W: World>(edge: &Edge<'_, W>, page: Page<'_>, mut told: Told) -> Reply<W::Answer> {
    if page == Page::Callback {
        return callback(edge, &told).await;
    }
    let asks_me = me(edge);
    let asks_rest = rest(edge, page, &told);
    let ((me, cookies), rest) = join!(asks_me, asks_rest);
    let mut reply = match rest {
        Err(Missing::Down(problem)) => refusal(edge, &problem),
        Err(Missing::No(data)) => failure(edge, &me, &data),
        Ok(Rest::Elsewhere(path)) => see_other(&path),
        Ok(rest) => {
            if rest.is_home_alone() && told.notice.is_none() {
                told.notice = Some((false, DOWN.to_owned()));
            }
            let path = edge.asked.uri.path_and_query().map_or("/", |path| path.as_str());
            // A form's own path is no place to come back to.
            let here = if edge.asked.method == Method::POST || matches!(page, Page::SignIn) {
                edge.asked.uri.path()
            } else {
                path
            };
            let mut frame = Frame::new(&files, &me, here);
            frame.policy_seen = edge.guest.as_ref().is_none_or(|guest| guest.policy == POLICY);
            if let Some((good, text)) = &told.notice {
                frame = frame.saying(if *good { Notice::Done(text) } else { Notice::Refused(text) });
            }
            html(edge, told.status.unwrap_or(StatusCode::OK), &rest.page(edge, &frame, &told))
        }
    };
    for cookie in cookies {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    reply
}

/// What an entry of the web build has to load.
fn files<'a>(entry: &str) -> Files<'a> {
    assets::entry(entry).or_else(|| assets::entry("plain")).map_or_else(Files::default, |entry| Files {
        script: entry.script,
        styles: entry.styles,
        modules: entry.modules,
    })
}

/// What is asked of the api for one page.
enum Rest<'a> {
    Home { destinations: Option<Vec<Destination>>, guest_days: u32, account_days: u32 },
    Job(Box<pages::Job>),
    Batch(Batch),
    Library(pages::Library),
    Account(Box<pages::Account>),
    SignIn(pages::SignIn),
    Link(&'a str, Link),
    Share(Box<pages::Shared>),
    Privacy(pages::Privacy),
    EarlierPrivacy(&'static pages::Policy),
    Security,
    Confirm(&'a str, Confirmation),
    Terms,
    Contact(pages::Contact),
    Status(Option<Status>),
    Api,
    Elsewhere(String),
}

impl Rest<'_> {
    fn is_home_alone(&self) -> bool {
        matches!(self, Self::Home { destinations: None, .. })
    }

    fn page<W: World>(self, edge: &Edge<'_, W>, frame: &Frame<'_>, told: &Told) -> Markup {
        match self {
            Self::Home { destinations, guest_days, account_days } => pages::home(
                frame,
                &pages::Home { destinations: destinations.unwrap_or_default(), guest_days, account_days },
            ),
            Self::Job(job) => pages::master(frame, &job),
            Self::Batch(batch) => pages::batch(frame, &batch),
            Self::Library(library) => pages::library(frame, &library),
            Self::Account(mut account) => {
                let secret = ["token", "secret"].iter().find_map(|name| told.answer[*name].as_str());
                account.secret = secret.map(str::to_owned);
                pages::account(frame, &account)
            }
            Self::SignIn(page) => pages::sign_in(frame, &page),
            Self::Link(token, link) => pages::link(frame, token, &link),
            Self::Share(shared) => pages::share(frame, &shared),
            Self::Privacy(privacy) => pages::privacy(frame, &privacy),
            Self::EarlierPrivacy(policy) => pages::earlier_privacy(frame, policy),
            Self::Security => pages::security(frame, &edge.config.security_contacts),
            Self::Confirm(token, confirmation) => pages::confirm(frame, token, &confirmation),
            Self::Terms => pages::terms(frame),
            Self::Contact(contact) => pages::contact(frame, &contact),
            Self::Status(status) => pages::status(frame, status.as_ref()),
            Self::Api | Self::Elsewhere(_) => pages::api(frame, &edge.config.api_origin),
        }
    }
}

async fn rest<'a, W: World>(edge: &Edge<'_, W>, page: Page<'a>, told: &Told) -> Result<Rest<'a>, Missing> {
    Ok(match page {
        Page::Home => {
            let (destinations, service) = join!(list(edge, "/v1/destinations"), service(edge));
            let retention = service.unwrap_or_default().privacy.retention;
            Rest::Home {
                destinations: destinations.ok(),
                guest_days: retention.guest_days,
                account_days: retention.account_days,
            }
        }
        Page::Master(id) => job(edge, id, told).await?,
        Page::Batch(id) => Rest::Batch(get(edge, &format!("/v1/batches/{id}")).await?),
        Page::Library => {
            let mut query = form_urlencoded::Serializer::new(format!("limit={LIBRARY_PAGE}"));
            for name in ["q", "sort", "state", "cursor"] {
                if !told.get(name).is_empty() {
                    query.append_pair(name, told.get(name));
                }
            }
            let path = format!("/v1/masters?{}", query.finish());
            let (masters, kept) = join!(
                get::<Masters, W>(edge, &path),
                list::<Mix, W>(edge, "/v1/uploads?state=stored&kept=true&limit=200")
            );
            let (masters, kept) = (masters?, kept.unwrap_or_default());
            let text = |name: &str| told.get(name).to_owned();
            let further = !told.get("cursor").is_empty();
            Rest::Library(pages::Library {
                masters,
                q: text("q"),
                sort: text("sort"),
                state: text("state"),
                further,
                kept: if further { Vec::new() } else { kept },
            })
        }
        Page::Account => {
            if edge.visitor.session.is_none() {
                return Ok(Rest::Elsewhere("/sign-in?next=/account".to_owned()));
            }
            let (sessions, tokens, webhooks, presets, export, service) = join!(
                list::<Session, W>(edge, "/v1/me/sessions"),
                list::<Token, W>(edge, "/v1/me/tokens"),
                list::<Webhook, W>(edge, "/v1/me/webhooks"),
                get::<Value, W>(edge, "/v1/presets"),
                get::<Export, W>(edge, "/v1/me/export"),
                service(edge)
            );
            Rest::Account(Box::new(pages::Account {
                sessions: sessions?,
                tokens: tokens.unwrap_or_default(),
                webhooks: webhooks.unwrap_or_default(),
                presets: presets.map(|presets| Preset::read(&presets)).unwrap_or_default(),
                export: export.ok(),
                secret: None,
                grace_days: service.unwrap_or_default().privacy.retention.account_grace_days,
            }))
        }
        Page::SignIn | Page::Callback => {
            let next = local(told.get("next")).to_owned();
            let login = Some(told.get("login")).filter(|login| !login.is_empty());
            if told.get("merge").is_empty() {
                let google = service(edge).await.is_ok_and(|service| service.offers_google());
                let (login, email) = (login.map(str::to_owned), told.get("email").to_owned());
                let step = login.map_or(SignInStep::Address, |login| SignInStep::Code { login, email });
                return Ok(Rest::SignIn(pages::SignIn { step, next, google }));
            }
            let masters = get::<Value, W>(edge, "/v1/auth/merge").await?["masters"].as_u64().unwrap_or_default();
            if masters == 0 {
                return Ok(Rest::Elsewhere(next));
            }
            Rest::SignIn(pages::SignIn { step: SignInStep::Merge { masters }, next, google: false })
        }
        Page::Link(token) => Rest::Link(token, get(edge, &format!("/v1/auth/link/{token}")).await?),
        Page::Share(token) => {
            Rest::Share(Box::new(pages::Shared { master: get(edge, &format!("/v1/shared/{token}")).await? }))
        }
        Page::Privacy => Rest::Privacy(match service(edge).await {
            Ok(service) => service.privacy,
            Err(_) => pages::Privacy { defaults: true, ..pages::Privacy::default() },
        }),
        Page::EarlierPrivacy(date) => match pages::earlier_policy(date) {
            Some(policy) => Rest::EarlierPrivacy(policy),
            None => Rest::Elsewhere("/privacy".to_owned()),
        },
        Page::Security => Rest::Security,
        Page::Confirm(token) => {
            let said = get::<Value, W>(edge, &format!("/v1/confirmations/{token}")).await?;
            Rest::Confirm(token, Confirmation::read(&said))
        }
        Page::Terms => Rest::Terms,
        Page::Contact => Rest::Contact(pages::Contact {
            topic: told.get("topic").to_owned(),
            about: told.get("about").chars().take(100).collect(),
            ticket: told.answer["ticket"].as_str().map(str::to_owned),
        }),
        Page::Status => Rest::Status(get(edge, "/v1/status").await.ok()),
        Page::Api => Rest::Api,
    })
}

/// One master, and what stands beside it.
async fn job<'a, W: World>(edge: &Edge<'_, W>, id: &str, told: &Told) -> Result<Rest<'a>, Missing> {
    let (master_path, shares_path) = (format!("/v1/masters/{id}"), format!("/v1/masters/{id}/shares"));
    let (master, destinations, shares) = join!(
        get::<Master, W>(edge, &master_path),
        list::<Destination, W>(edge, "/v1/destinations"),
        list::<Share, W>(edge, &shares_path)
    );
    let (master, mut shares) = (master?, shares.unwrap_or_default());
    let reference = async {
        let upload = get::<Value, W>(edge, &format!("/v1/uploads/{}", master.reference_upload.as_ref()?)).await.ok()?;
        Some(upload["name"].as_str()?.to_owned())
    };
    let versions = async {
        let path = format!("/v1/masters?limit={VERSIONS}&upload={}", encode(&master.upload.as_ref()?.id));
        get::<Masters, W>(edge, &path).await.ok()
    };
    let (reference, versions) = join!(reference, versions);
    // The address of a share is given once, in the answer that made it.
    if let Ok(new) = Share::deserialize(&told.answer)
        && new.url.is_some()
    {
        shares.retain(|share| share.id != new.id);
        shares.insert(0, new);
    }
    let (destinations, versions) = (destinations.unwrap_or_default(), versions.unwrap_or_default().items);
    Ok(Rest::Job(Box::new(pages::Job { master, destinations, shares, reference, versions })))
}

/// What `/v1/status` says of how the service is run, besides its state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    #[serde(flatten)]
    privacy: pages::Privacy,
    sign_in: Vec<String>,
}

impl Service {
    /// Whether there is a button for Google. A service that says nothing about it is asked when the button is pressed.
    fn offers_google(&self) -> bool {
        self.sign_in.is_empty() || self.sign_in.iter().any(|name| name == "google")
    }
}

/// Asks it, and notes the operator's periods for the rest of the request.
async fn service<W: World>(edge: &Edge<'_, W>) -> Result<Service, Missing> {
    service_within(edge, PATIENCE_OF_PAGES).await
}

async fn service_within<W: World>(edge: &Edge<'_, W>, patience: u64) -> Result<Service, Missing> {
    let path = "/v1/status";
    let data = edge.ask_within(patience, Method::GET, path, None).await.map_err(Missing::Down)?;
    let service: Service = read(edge, path, data)?;
    edge.retention.get_or_init(|| service.privacy.retention);
    Ok(service)
}

/// Notes the operator's periods for a page that needs nothing else of the api. A page that is ready does not wait long for that.
pub(crate) async fn learn_retention<W: World>(edge: &Edge<'_, W>) {
    drop(service_within(edge, 1_500).await);
}

/// Who is looking; nobody is asked about visitors without cookies. Also the cookies the api wants to change.
async fn me<W: World>(edge: &Edge<'_, W>) -> (Me, Vec<HeaderValue>) {
    if edge.visitor.session.is_none() && edge.visitor.guest.is_none() {
        return (Me::default(), Vec::new());
    }
    match edge.ask(Method::GET, "/v1/me", None).await {
        Ok(data) if data.status.is_success() => (serde_json::from_slice(&data.body).unwrap_or_default(), data.cookies),
        Ok(data) => (Me::default(), data.cookies),
        Err(_) => (Me::default(), Vec::new()),
    }
}

async fn get<T: DeserializeOwned, W: World>(edge: &Edge<'_, W>, path: &str) -> Result<T, Missing> {
    let data = edge.ask(Method::GET, path, None).await.map_err(Missing::Down)?;
    read(edge, path, data)
}

fn read<T: DeserializeOwned, W: World>(edge: &Edge<'_, W>, path: &str, data: Data) -> Result<T, Missing> {
    if !data.status.is_success() {
        return Err(Missing::No(data));
    }
    serde_json::from_slice(&data.body).map_err(|error| {
        edge.world.log(&format!("edge.unreadable {} {path}: {error}", edge.visitor.request_id));
        let detail = "the mastering service gave an answer this page cannot read; try again in a minute";
        Missing::Down(Problem::new(StatusCode::BAD_GATEWAY, "edge.unreadable", detail))
    })
}

/// A list, bare or as `items`; what cannot be read of it is left out.
async fn list<T: DeserializeOwned, W: World>(edge: &Edge<'_, W>, path: &str) -> Result<Vec<T>, Missing> {
    let mut value = get::<Value, W>(edge, path).await?;
    let items = if value.is_array() { value } else { value["items"].take() };
    let Value::Array(items) = items else { return Ok(Vec::new()) };
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

/// Back from the provider: hands on what it said, and leads on.
async fn callback<W: World>(edge: &Edge<'_, W>, told: &Told) -> Reply<W::Answer> {
    let (state, code) = (told.get("state"), told.get("code"));
    if state.is_empty() || code.is_empty() {
        let text = "Google did not sign you in. Try again, or sign in by mail.";
        let told =
            Told { notice: Some((false, text.to_owned())), status: Some(StatusCode::BAD_REQUEST), ..Told::default() };
        return Box::pin(draw(edge, Page::SignIn, told)).await;
    }
    let body = serde_json::json!({ "state": state, "code": code }).to_string().into_bytes();
    match edge.ask(Method::POST, "/v1/auth/google/callback", Some(body)).await {
        Err(problem) => refusal(edge, &problem),
        Ok(data) if data.status.is_success() => {
            let answer: Value = serde_json::from_slice(&data.body).unwrap_or_default();
            // The address has to be confirmed by mail first: on to the code.
            if let Some(login) = answer["login"].as_str() {
                let next = local(answer["next"].as_str().unwrap_or_default());
                let email = answer["email"].as_str().unwrap_or_default();
                let mut reply = see_other(&format!(
                    "/sign-in?login={}&email={}&next={}&said=confirm",
                    encode(login),
                    encode(email),
                    encode(next)
                ));
                add_cookies(&mut reply, &data);
                return reply;
            }
            let merges = answer["guest_masters"].as_u64().unwrap_or_default() > 0;
            let next = local(answer["next"].as_str().unwrap_or_default());
            let merge = format!("/sign-in?merge=1&next={}", encode(next));
            let mut reply = see_other(if merges { &merge } else { next });
            add_cookies(&mut reply, &data);
            reply
        }
        Ok(data) => {
            let told = Told { notice: Some((false, explained(&data))), status: Some(data.status), ..Told::default() };
            let mut reply = Box::pin(draw(edge, Page::SignIn, told)).await;
            add_cookies(&mut reply, &data);
            reply
        }
    }
}

/// What a problem document means, in words for people: its `detail` is for programs.
pub(crate) fn explained(data: &Data) -> String {
    let problem: Value = serde_json::from_slice(&data.body).unwrap_or_default();
    pages::sentence(problem["code"].as_str().unwrap_or_default(), &problem)
}

/// The code of a problem document.
pub(crate) fn code(data: &Data) -> String {
    let problem: Value = serde_json::from_slice(&data.body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

/// Error texts begin small, to stand behind a code; alone they are sentences.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// The api's "no" as a page.
pub(crate) fn failure<W: World>(edge: &Edge<'_, W>, me: &Me, data: &Data) -> Reply<W::Answer> {
    let frame = Frame::new(&files, me, edge.asked.uri.path());
    let mut reply = match data.status {
        StatusCode::UNAUTHORIZED => sign_in_first(edge),
        StatusCode::FORBIDDEN if code(data) == "auth.recent_sign_in_required" => sign_in_first(edge),
        StatusCode::NOT_FOUND | StatusCode::GONE => html(edge, StatusCode::NOT_FOUND, &pages::not_found(&frame)),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            html(edge, StatusCode::SERVICE_UNAVAILABLE, &pages::away(&frame))
        }
        status => {
            let title = status.canonical_reason().unwrap_or("That did not work");
            html(edge, status, &pages::failed(&frame, title, &explained(data), Some(&edge.visitor.request_id)))
        }
    };
    add_cookies(&mut reply, data);
    reply
}

/// To the sign-in page, and back afterwards.
fn sign_in_first<W: World>(edge: &Edge<'_, W>) -> Reply<W::Answer> {
    let path = edge.asked.uri.path();
    // A form is not sent again after signing in; its page is shown.
    let page =
        if edge.asked.method == Method::POST { path.rsplit_once('/').map_or(path, |(page, _)| page) } else { path };
    let back = if page.starts_with("/account") { "/account" } else { page };
    see_other(&format!("/sign-in?next={}", encode(local(back))))
}

/// A page on the way to another address.
pub(crate) fn onward<W: World>(edge: &Edge<'_, W>, url: &str, name: &str) -> Reply<W::Answer> {
    let me = Me::default();
    html(edge, StatusCode::OK, &pages::onward(&Frame::new(&files, &me, "/"), url, name))
}

/// Says no: to people with a page, to programs with a problem document.
pub(crate) fn refuse<W: World>(edge: &Edge<'_, W>, route: Route<'_>, problem: &Problem) -> Reply<W::Answer> {
    let wants_page = match route {
        Route::Document(_) | Route::Form(..) => true,
        Route::Api { .. } | Route::Grant => false,
        _ => edge
            .asked
            .headers
            .get(header::ACCEPT)
            .and_then(|a| a.to_str().ok())
            .is_some_and(|a| a.contains("text/html")),
    };
    if wants_page {
        return refusal(edge, problem);
    }
    let response = problem.to_response(edge.asked.uri.path(), &edge.visitor.request_id);
    response.map(|body| Body::Full(Cow::Owned(body)))
}

/// The edge's "no" as a page.
pub(crate) fn refusal<W: World>(edge: &Edge<'_, W>, problem: &Problem) -> Reply<W::Answer> {
    let me = Me::default();
    let frame = Frame::new(&files, &me, edge.asked.uri.path());
    let request = Some(edge.visitor.request_id.as_str());
    let page = match problem.code {
        "edge.not_found" => pages::not_found(&frame),
        "edge.api_down" => pages::away(&frame),
        _ => {
            let title = problem.status.canonical_reason().unwrap_or("That did not work");
            pages::failed(&frame, title, &sentence(&problem.detail), request)
        }
    };
    let mut reply = html(edge, problem.status, &page);
    if let Some(seconds) = problem.retry_after {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// A document, packed if the browser takes that.
fn html<W: World>(edge: &Edge<'_, W>, status: StatusCode, page: &Markup) -> Reply<W::Answer> {
    let mut body = page.0.as_bytes().to_vec();
    let mut packed = false;
    if body.len() > WORTH_PACKING && assets::accepts(&edge.asked.headers, "gzip") {
        let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::fast());
        if let Ok(small) = gzip.write_all(&body).and_then(|()| gzip.finish()) {
            (body, packed) = (small, true);
        }
    }
    let mut reply = Response::new(Body::Full(Cow::Owned(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}
