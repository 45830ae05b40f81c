//! What was done at start, as one line for scripts, one screen for people, and a few lines in
//! the log for those who read that.

use std::net::SocketAddr;

use crate::postgres;
use crate::tls::DevCertificate;

/// What was done at start.
#[derive(Clone, Debug)]
pub struct Opening {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// Set when no certificate was configured.
    pub dev_certificate: Option<DevCertificate>,
    /// Set when no database was configured.
    pub postgres: Option<postgres::About>,
}

impl Opening {
    /// The line that scripts wait for. It is printed once, when the relay serves.
    pub fn ready_line(&self) -> String {
        format!(
            "mls-relay is ready: {} admin http://{}",
            self.served_url(),
            self.admin
        )
    }

    /// What a person at a terminal would ask next.
    pub fn screen(&self) -> String {
        let (version, url, admin) = (env!("CARGO_PKG_VERSION"), self.local_url(), self.admin);
        let (tls, trust) = match &self.dev_certificate {
            Some(dev) => {
                let done = if dev.made { "made" } else { "kept" };
                let cert = dev.cert.display();
                let tls = format!("development certificate, {done}: {cert}");
                (tls, format!("--cacert {cert} "))
            }
            None => ("the configured certificate".to_owned(), String::new()),
        };
        let postgres = match &self.postgres {
            Some(own) => {
                let (version, data_dir) = (&own.version, own.data_dir.display());
                format!("{version}, private, data kept in {data_dir}")
            }
            None => "the configured database".to_owned(),
        };
        format!(
            "
  mls-relay {version}

  Clients    {url}
  Operators  http://{admin} (/health, /metrics)
  TLS        {tls}
  Postgres   {postgres}

  Try next:
    curl {trust}{url}/xrpc/_health
    make demo                    two phones, end to end
    mls-relay check-config       every setting, and where it is set

  Ctrl-C stops it, Postgres included.

"
        )
    }

    /// The development certificate is for this machine, which its other names reach as well;
    /// what a configured one is for is the operator's affair.
    fn served_url(&self) -> String {
        match self.dev_certificate {
            Some(_) => self.local_url(),
            None => format!("https://{}", self.public),
        }
    }

    /// What nobody may have asked for: one mistyped variable, and the relay serves a database
    /// and a certificate that no client knows.
    pub fn warn(&self) {
        if let Some(own) = &self.postgres {
            own.warn();
        }
        if let Some(dev) = &self.dev_certificate {
            tracing::warn!(
                value = %dev.cert.display(),
                "edge.tls_cert (TLS_CERT) is not set: a development certificate is served"
            );
        }
    }

    /// The name by which a browser or curl on this machine reaches us.
    fn local_url(&self) -> String {
        match self.public.ip().is_loopback() || self.public.ip().is_unspecified() {
            true => format!("https://localhost:{}", self.public.port()),
            false => format!("https://{}", self.public),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_ready_line_says_the_name_that_the_development_certificate_is_for() {
        let mut opening = Opening {
            public: "127.0.0.1:8443".parse().unwrap(),
            admin: "127.0.0.1:9090".parse().unwrap(),
            dev_certificate: Some(DevCertificate {
                cert: PathBuf::from("certs/localhost.pem"),
                key: PathBuf::from("certs/localhost-key.pem"),
                made: true,
            }),
            postgres: None,
        };
        let line = "mls-relay is ready: https://localhost:8443 admin http://127.0.0.1:9090";
        assert_eq!(opening.ready_line(), line);
        // What a configured one is for, we do not know.
        opening.dev_certificate = None;
        let line = "mls-relay is ready: https://127.0.0.1:8443 admin http://127.0.0.1:9090";
        assert_eq!(opening.ready_line(), line);
    }
}
