//! Errors, each as a sentence for people.

use std::io;
use std::time::Duration;

use crate::gzip::Damaged;

/// A failed request as a sentence for people.
pub(crate) fn explain(error: ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("timed out after {} s", timeout.as_secs_f64()),
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
        ureq::Error::Io(error) => explain_io(&error),
        ureq::Error::Rustls(error) => explain_tls(&error),
        ureq::Error::Protocol(error) => explain_protocol(&error.to_string()),
        ureq::Error::Http(error) => format!("not an address: {error}"),
        ureq::Error::LargeResponseHeader(..) => {
            "the headers of the response are too long".to_owned()
        }
        error => error.to_string(),
    }
}

/// Tells what ureq's parser says, whose kinds have no public names. It refuses some things that are
/// good HTTP, so this blames no server.
fn explain_protocol(said: &str) -> String {
    match said.strip_prefix("http parse fail: ").unwrap_or(said) {
        "http parse resulted in too many headers" => {
            "the response has more than 128 headers".to_owned()
        }
        // The user and the password make a header of their own.
        "output too small to write output" => "the address is too long".to_owned(),
        said => format!("the response cannot be read as HTTP/1: {said}"),
    }
}

fn explain_io(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|error| error.downcast_ref()) {
        return explain_tls(error);
    }
    if let Some(damaged) = inner.and_then(|error| error.downcast_ref::<Damaged>()) {
        return damaged.to_string();
    }
    let sentence = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
            "the server broke the connection"
        }
        Kind::UnexpectedEof => "the server closed the connection too early",
        Kind::HostUnreachable | Kind::NetworkUnreachable => "the host cannot be reached",
        // The standard library has no kind for it.
        _ if error.to_string().starts_with("failed to lookup address") => {
            "the name of the host does not resolve"
        }
        _ => return format!("the connection failed: {error}"),
    };
    sentence.to_owned()
}

fn explain_tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let bad = match error {
        rustls::Error::InvalidCertificate(bad) => bad,
        rustls::Error::InvalidMessage(_) => {
            return "no secure connection: the server does not speak TLS".to_owned();
        }
        rustls::Error::AlertReceived(_) => {
            return "no secure connection: the server refuses it".to_owned();
        }
        error => return format!("no secure connection: {error}"),
    };
    let reason = match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired",
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "is not valid yet",
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "is for another name",
        Bad::Revoked => "was revoked",
        Bad::UnknownIssuer => "was not signed by anyone trusted",
        _ => "cannot be trusted",
    };
    format!("the certificate of the server {reason}")
}
