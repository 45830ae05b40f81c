//! Requests to the directory: a connection each, HTTP/1.1, an answer of bounded length.
//! Orders are rare, and whoever orders sets a deadline over all of it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::outbound::{beside, public_authorities, tls_config};
use crate::tls::certificate::chain_of;
use crate::tls::{CertError, TlsError};

type AnyError = Box<dyn Error + Send + Sync>;

/// Clones share the trust anchors.
#[derive(Clone)]
pub(super) struct DirectoryClient(TlsConnector);

impl DirectoryClient {
    /// Trusts the public authorities, and those of a file.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = public_authorities();
        if let Some(path) = ca_file {
            let pem = fs::read(path).map_err(|source| CertError::Read {
                path: path.to_owned(),
                source,
            })?;
            for authority in chain_of(&pem)? {
                roots.add(authority)?;
            }
        }
        Ok(Self(TlsConnector::from(Arc::new(tls_config(roots)?))))
    }

    async fn exchange(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, AnyError> {
        let host = request.uri().host().ok_or("a URL without a host")?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = request.uri().port_u16().unwrap_or(443);
        let authority = request.uri().authority().ok_or("a URL without a host")?;
        let authority = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, authority);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);

        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let stream = self.0.connect(ServerName::try_from(host)?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok(Response::from_parts(head, Full::new(body.to_bytes())))
        };
        beside(connection, answer).await
    }
}

impl HttpClient for DirectoryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let exchange = self.clone().exchange(request);
        Box::pin(async move {
            let response = exchange.await.map_err(instant_acme::Error::Other)?;
            Ok(BytesResponse::from(response))
        })
    }
}

/// A chain of four certificates has a tenth of it.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
