//! One request and its response, without following redirects.

use std::env;
use std::io;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::{Response, Uri, header};
// What ureq may change in any version. There is no other way to hear of a reset.
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Body, Error, Proxy};
use url::{Host, Url};

/// The variables that ureq reads, of which the first that is set names the proxy.
const VARIABLES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// The proxy for an address, if the environment names one. A name that makes no sense is an error:
/// ureq would pass over it, and go around the proxy.
pub(crate) fn proxy(url: &Url) -> Result<Option<Proxy>, String> {
    if is_loopback(url) {
        return Ok(None);
    }
    let set = VARIABLES.into_iter().find_map(|variable| {
        let value = env::var_os(variable).filter(|value| !value.is_empty());
        Some((variable, value?))
    });
    if let Some((variable, value)) = set {
        let made = value.to_str().ok_or("not UTF-8".to_owned());
        let made = made.and_then(|value| Proxy::new(value).map_err(|error| error.to_string()));
        if let Err(why) = made {
            return Err(format!("the proxy in {variable} cannot be used: {why}"));
        }
    }
    let address: Result<Uri, _> = url.as_str().parse();
    let is_left_out = |proxy: &Proxy| address.is_ok_and(|address| proxy.is_no_proxy(&address));
    Ok(Proxy::try_from_env().filter(|proxy| !is_left_out(proxy)))
}

/// Asks for the page, and waits for the head of the response.
pub(crate) fn get(
    url: &Url,
    timeout: Duration,
    proxy: Option<&Proxy>,
) -> Result<Response<Body>, Error> {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .proxy(proxy.cloned())
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
