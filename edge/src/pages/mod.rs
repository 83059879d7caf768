//! The pages, as pure functions: what the api says ([`view`]) → a whole HTML document. No clock, no request, no I/O; the edge's routes
//! read the cookies, ask the api, and call one function here.
//!
//! | path | function | asks the api for | entry |
//! |---|---|---|---|
//! | `/` | [`home`] | `/me` (if there is a session), `/destinations` | `home` |
//! | `/m/<master>` | [`master`] | `/me`, `/masters/{id}`, `/masters/{id}/shares`, `/masters?upload` | `job` |
//! | `/b/<batch>` | [`batch`] | `/me`, `/batches/{id}` | `library` |
//! | `/library` | [`library`] | `/me`, `/masters?q&sort&state&cursor`, `/uploads?kept` | `library` |
//! | `/account` | [`account`] | `/me`, `/me/sessions`, `/me/tokens`, `/me/webhooks`, `/presets`, `/me/export` | `account` |
//! | `/sign-in` | [`sign_in`] | `/me`; `/auth/merge` after signing in | `sign-in` |
//! | `/auth/google/callback` | [`sign_in`] (step [`SignInStep::Merge`], or a redirect to `next`) | `/auth/google/callback` | `sign-in` |
//! | `/l/<token>` | [`link`] | `/auth/link/{token}` | `sign-in` |
//! | `/s/<share>` | [`share`] | `/shared/{token}` | `job` |
//! | `/privacy` | [`privacy`] | `/status` (providers, settings of the periods) | `site` |
//! | `/privacy/<date>` | [`earlier_privacy`] | | `site` |
//! | `/confirm/<token>` | [`confirm`] | `/confirmations/{token}` | `sign-in` |
//! | `/security` | [`security`] | | `site` |
//! | `/terms`, `/contact`, `/status`, `/api` | [`terms`], [`contact`], [`status`], [`api`] | `/status` for the status page | `site` |
//! | none of these | [`not_found`] | | `site` |
//! | the api is down | [`away`] | | `site` |
//! | everything else that went wrong | [`failed`] | | `site` |
//!
//! Entries are those of the web build (`edge/web`); [`Frame::files`] finds what each has to load. Nothing here is inline script or
//! style, so the content security policy needs no exception.
//!
//! Forms post `application/x-www-form-urlencoded` to these paths, and the scripts send the same wishes to `/v1` as JSON instead:
//!
//! | to | fields |
//! |---|---|
//! | `/m/<master>` | settings as `crate::wishes` reads them: master the same upload again |
//! | `/m/<master>/cancel`, `/delete`, `/share` | none; delete may have `keep_mix` (`on`); `/m/<master>/share` with `remove` = a share's id revokes it |
//! | `/b/<batch>` | `name`, `album` (`on`), `order` (ids separated by spaces); `/b/<batch>/zip`: none |
//! | `/library/delete`, `/restore`, `/zip` | `id`, repeated; delete may have `keep_mix` (`on`) |
//! | `/library/mix` | `id` of a kept mix, `action` = `master` or `delete` |
//! | `/account` | `name`, `mail_when_ready` (`on`); or `accept_policy` |
//! | `/account/email` | `email`; `/account/remove-preset`: `id` = its name |
//! | `/account/revoke` | `id`; `/account/revoke-others`: none |
//! | `/account/token` | `name`, `scopes` repeated, `days`; `/account/remove-token`: `id` |
//! | `/account/webhook` | `url`; `/account/remove-webhook`, `/rotate-webhook`, `/test-webhook`: `id` |
//! | `/account/export`, `/account/delete`, `/account/keep`, `/account/remove-picture` | none; delete has `confirm` = the address |
//! | `/sign-in` | `email`, `of_age` (`on`), `next`; `/sign-in/code`: `login`, `code`, `next`; `/sign-in/google`: `next`, `of_age` |
//! | `/sign-in/merge` | `keep` = `move` or `leave`, `next`; `/sign-in/out`: none |
//! | `/l/<token>`, `/confirm/<token>` | none |
//! | `/privacy/seen` | `next`: a guest closes the notice of a new policy |
//! | `/contact` | `topic`, `email`, `message` |

mod account;
mod home;
mod icons;
mod job;
mod layout;
mod library;
mod privacy;
mod sentence;
mod sign_in;
mod text;
mod versions;
pub mod view;
mod words;

#[cfg(test)]
mod tests;

pub use account::{Account, account};
pub use home::{Home, home};
pub use job::{Shared, master, share};
pub use layout::{Files, Frame, Notice};
pub use library::{Library, batch, library};
pub use privacy::{Policy, Privacy, VERSIONS, earlier_policy, earlier_privacy, privacy};
pub use sentence::sentence;
pub use sign_in::{SignIn, SignInStep, confirm, link, onward, sign_in};
pub use versions::Job;
pub use words::{Contact, api, away, contact, failed, not_found, security, status, terms};
