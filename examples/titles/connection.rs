//! One request and its response, without following redirects.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::{Response, header};
// What ureq may change in any version. There is no other way to hear of a reset.
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Body, Error, Proxy};
use url::{Host, Url};

/// Asks for the page, and waits for the head of the response.
pub(crate) fn get(url: &Url, timeout: Duration) -> Result<Response<Body>, Error> {
    let proxy = if is_loopback(url) {
        None
    } else {
        Proxy::try_from_env()
    };
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .proxy(proxy)
        .user_agent(concat!(
            "concurrent-futures-titles/",
            env!("CARGO_PKG_VERSION")
        ))
        .accept("text/html, application/xhtml+xml, */*;q=0.1")
        .accept_encoding("gzip")
        .build();
    let connector = DefaultConnector::new().chain(Honest);
    let agent = Agent::with_parts(config, connector, DefaultResolver::default());

    let mut bare = url.clone();
    bare.set_fragment(None);
    // Neither fails for an address that has a host.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut request = agent.get(bare.as_str());
    if let Some(credentials) = credentials(url) {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    request.call()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// The user and the password of an address, percent-decoded to bytes of any kind. ureq would send
/// them as they stand.
fn credentials(url: &Url) -> Option<String> {
    if !has_credentials(url) {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(format!("Basic {}", BASE64_STANDARD.encode(plain)))
}

pub(crate) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Makes [`HonestTransport`]s.
#[derive(Debug)]
struct Honest;

impl<In: Transport> Connector<In> for Honest {
    type Out = HonestTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(HonestTransport))
    }
}

/// A connection whose reset is an error. ureq takes one for the end of a body without a length, and
/// so half a page for a whole one.
#[derive(Debug)]
struct HonestTransport<T>(T);

impl<T: Transport> Transport for HonestTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        use io::ErrorKind as Kind;
        self.0.await_input(timeout).map_err(|error| match error {
            // A kind that ureq leaves alone.
            Error::Io(error)
                if matches!(
                    error.kind(),
                    Kind::ConnectionReset | Kind::ConnectionAborted
                ) =>
            {
                Error::Io(io::Error::new(Kind::BrokenPipe, error))
            }
            error => error,
        })
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
