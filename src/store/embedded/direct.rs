//! The way to the endpoint for a client in its own process: the same requests with the same signatures, without a socket between. On two
//! cores a request through the loopback costs more than what it asks for.

use super::State;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper::{Request, Uri};
use s3s::Body;
use std::sync::Arc;

/// Calls the endpoint.
#[derive(Clone)]
pub(super) struct Direct(pub(super) Arc<State>);

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Direct")
    }
}

impl HttpClient for Direct {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Direct {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let state = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let request = arrived(request).map_err(ConnectorError::user)?;
            let response = state.answer(request).await.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The request as a server would have read it.
fn arrived(request: HttpRequest) -> Result<Request<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let mut request = request.try_into_http1x()?;
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().entry(HOST).or_insert(host);
    }
    if let Some(bytes) = request.body().size_hint().exact() {
        request.headers_mut().entry(CONTENT_LENGTH).or_insert(bytes.into());
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok(request.map(Body::http_body))
}
