//! Pure. A database URL that may be shown: everything but the password.

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// What a Postgres client understands of either form, a URL or `key=value` words, as words.
/// Nothing of the text itself is shown: only the client knows where a password ends in it.
pub(super) fn database_url(url: &str) -> String {
    let Ok(config) = url.parse::<Config>() else {
        return HIDDEN.to_owned();
    };
    let hosts: Vec<_> = config.get_hosts().iter().map(host).collect();
    let ports: Vec<_> = config.get_ports().iter().map(u16::to_string).collect();
    let database = config.get_dbname().unwrap_or_default();
    // What follows a bare '@' in a password is taken for these.
    if hosts.iter().any(|host| host.contains('@')) || database.contains('@') {
        return HIDDEN.to_owned();
    }
    let words = [
        ("host", hosts.join(",")),
        ("port", ports.join(",")),
        ("user", config.get_user().unwrap_or_default().to_owned()),
        (
            "password",
            config.get_password().map_or("", |_| HIDDEN).to_owned(),
        ),
        ("dbname", database.to_owned()),
        ("sslmode", ssl_mode(config.get_ssl_mode()).to_owned()),
        (
            "target_session_attrs",
            session(config.get_target_session_attrs()).to_owned(),
        ),
    ];
    let said = words.iter().filter(|(_, value)| !value.is_empty());
    let said: Vec<_> = said
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    said.join(" ")
}

fn host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

fn ssl_mode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Require => "require",
        _ => "",
    }
}

fn session(attributes: TargetSessionAttrs) -> &'static str {
    match attributes {
        TargetSessionAttrs::ReadWrite => "read-write",
        TargetSessionAttrs::ReadOnly => "read-only",
        _ => "",
    }
}

const HIDDEN: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_url_shows_its_password() {
        for url in [
            "postgres://relay:s3cret@db.example/relay?sslmode=require",
            "postgresql://relay:s3cret@@[::1]:5432/relay",
            "postgresql:///relay?host=/tmp&password=s3cret&user=x",
            "postgres://relay:s3/cret@db/relay",
            "postgres://relay:s3?cret@db/relay",
            "postgres://relay:x@s3cret@db/relay",
            "postgres://db/relay?passw%6Frd=s3cret",
            "host=db user=relay password=s3cret dbname=relay",
            "host=db password = 's3cret' dbname=relay",
            "host=db password='s3 s3cret' dbname=relay",
            r"host=db password=s3\ s3cret dbname=relay",
            "host=db password=s3&s3cret dbname=relay",
        ] {
            let shown = database_url(url);
            assert!(!shown.contains("cret"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_secret_stays() {
        for (url, shown) in [
            (
                "postgres://relay:x@db1,db2:5433/relay?sslmode=require",
                "host=db1,db2 port=5432,5433 user=relay password=*** dbname=relay sslmode=require",
            ),
            ("host=/tmp user=relay", "host=/tmp user=relay"),
            (
                "postgres://relay@db/relay?target_session_attrs=read-write",
                "host=db port=5432 user=relay dbname=relay target_session_attrs=read-write",
            ),
        ] {
            assert_eq!(database_url(url), shown);
        }
    }
}
