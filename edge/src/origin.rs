//! Cross-site requests. The api cannot judge them (WASI may not set Host, so it never sees the visitor's origin); here is the only gate.

use http::{HeaderMap, header};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// The browser names another origin.
    #[error("this request comes from another site; open the page itself and try again")]
    Origin,
    /// The browser says it is not the page that asks.
    #[error("this request was not made by our page; open the page itself and try again")]
    Site,
    /// Nothing tells where it comes from.
    #[error(
        "this request does not say where it comes from; use a current browser, or an API token on the API's own address"
    )]
    Unsaid,
}

/// Lets a request pass only if the browser vouches that a page of `origin` made it. What a browser sends must not contradict: an
/// `Origin` has to be ours, a `Sec-Fetch-Site` has to be `same-origin`, and one of the two has to be there.
pub fn same_origin(headers: &HeaderMap, origin: &str) -> Result<(), Foreign> {
    let said = |name: &str| {
        let mut all = headers.get_all(name).into_iter();
        let first = all.next();
        // Two of them are a trick: the whole is unreadable.
        first.map(|value| if all.next().is_some() { "" } else { value.to_str().unwrap_or_default() })
    };
    let from = said(header::ORIGIN.as_str());
    let site = said("sec-fetch-site");
    if from.is_some_and(|from| from != origin) {
        return Err(Foreign::Origin);
    }
    if site.is_some_and(|site| site != "same-origin") {
        return Err(Foreign::Site);
    }
    if from.is_none() && site.is_none() {
        return Err(Foreign::Unsaid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn judge(headers: &[(&'static str, &'static str)]) -> Result<(), Foreign> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        same_origin(&map, "https://lm.example")
    }

    #[test]
    fn our_own_pages_pass() {
        for own in [
            &[("origin", "https://lm.example"), ("sec-fetch-site", "same-origin")][..],
            &[("origin", "https://lm.example")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(judge(own), Ok(()), "{own:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (headers, why) in [
            (&[][..], Foreign::Unsaid),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], Foreign::Origin),
            (&[("origin", "http://lm.example")], Foreign::Origin),
            (&[("origin", "https://lm.example.evil")], Foreign::Origin),
            (&[("origin", "https://evil"), ("origin", "https://lm.example")], Foreign::Origin),
            (&[("origin", "https://lm.example"), ("sec-fetch-site", "same-site")], Foreign::Site),
            (&[("origin", "https://lm.example"), ("sec-fetch-site", "cross-site")], Foreign::Site),
            (&[("sec-fetch-site", "none")], Foreign::Site),
            (&[("referer", "https://lm.example/")], Foreign::Unsaid),
        ] {
            assert_eq!(judge(headers), Err(why), "{headers:?}");
        }
    }
}
