//! What the edge signs and the api checks. Only the text is here, so that both sides share it; the HMAC-SHA-256 over it is theirs.

/// Carries the signature: `v1 <key id> <unix seconds> <nonce> <HMAC-SHA-256 in lower-case hex>`.
pub const SIGNATURE: &str = "lm-signature";
/// The visitor's IP address, hashed by the edge with its key of the day.
pub const IP: &str = "lm-ip";
/// The guest id of a verified guest cookie.
pub const GUEST: &str = "lm-guest";
/// The session token, opaque to the edge.
pub const SESSION: &str = "lm-session";
/// The token of the browser that asked for a sign-in.
pub const LOGIN: &str = "lm-login";
/// Names one request in all logs.
pub const REQUEST_ID: &str = "lm-request-id";
/// Answers of the api that the edge turns into cookies: `<token> <max-age in seconds>`, or `-` to clear it.
pub const SET_SESSION: &str = "lm-set-session";
/// As [`SET_SESSION`], for the guest cookie.
pub const SET_GUEST: &str = "lm-set-guest";
/// As [`SET_SESSION`], for the cookie of a sign-in under way.
pub const SET_LOGIN: &str = "lm-set-login";

/// How far the clocks of edge and api may differ, seconds either way.
pub const TOLERANCE: u64 = 60;
/// Largest body that is signed, bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Longest path to go on to after a sign-in, bytes.
pub const LONGEST_PATH: usize = 500;

/// Whether this is a path of our own pages to go on to: never another site, however it is written. Browsers take `//` and `/\` for the
/// beginning of a host, and leave out tabs and line breaks.
#[must_use]
pub fn is_our_path(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    path.starts_with('/') && !path.starts_with("//") && plain && path.len() <= LONGEST_PATH
}

/// One upstream request as it is signed. Absent headers are empty.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which of the edge's keys.
    pub key_id: &'a str,
    /// Unix time, seconds.
    pub time: u64,
    /// Random, hex; single-use for everything but GET and HEAD.
    pub nonce: &'a str,
    /// Upper case.
    pub method: &'a str,
    /// Host and port the request is sent to.
    pub authority: &'a str,
    /// Path with query, as sent.
    pub path: &'a str,
    /// SHA-256 of the body, lower-case hex; that of nothing where there is no body.
    pub body_sha256: &'a str,
    /// [`IP`].
    pub ip: &'a str,
    /// [`GUEST`].
    pub guest: &'a str,
    /// [`SESSION`].
    pub session: &'a str,
    /// [`LOGIN`].
    pub login: &'a str,
    /// [`REQUEST_ID`].
    pub request_id: &'a str,
}

impl Request<'_> {
    /// The text under the HMAC: one field a line. No field may hold a line break; header values cannot.
    #[must_use]
    pub fn canonical(&self) -> String {
        let time = self.time.to_string();
        [
            "lm1",
            self.key_id,
            &time,
            self.nonce,
            self.method,
            self.authority,
            self.path,
            self.body_sha256,
            self.ip,
            self.guest,
            self.session,
            self.login,
            self.request_id,
        ]
        .join("\n")
    }
}
