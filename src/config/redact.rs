//! Pure. A database URL that may be shown: everything but the password.

/// Hides the password of either form that Postgres takes: a URL, or `key=value` words.
pub fn database_url(url: &str) -> String {
    let url = hide_user_info(url);
    // A password can also be a query parameter or a word of the key/value form.
    hide_words(&url)
}

fn hide_user_info(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // The user's part ends at the last '@' before the path: a password may hold '@'.
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((user_info, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}{path}"),
        None => url.to_owned(),
    }
}

fn hide_words(text: &str) -> String {
    let Some(start) = text.find("password") else {
        return text.to_owned();
    };
    let (before, rest) = text.split_at(start);
    let Some((name, value)) = rest.split_once('=') else {
        return text.to_owned();
    };
    // A quoted value may hold anything, so everything after it goes too.
    let after = match value.trim_start().starts_with('\'') {
        true => "",
        false => value
            .find(|c: char| c == '&' || c.is_whitespace())
            .map_or("", |end| value.get(end..).unwrap_or_default()),
    };
    format!("{before}{name}={HIDDEN}{}", hide_words(after))
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
            "host=db user=relay password=s3cret dbname=relay",
            "host=db password = 's3cret' dbname=relay",
            "host=db password='s3 s3cret' dbname=relay",
        ] {
            let shown = database_url(url);
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_secret_stays() {
        assert_eq!(
            database_url("postgres://relay:x@db/relay"),
            "postgres://relay:***@db/relay"
        );
        assert_eq!(
            database_url("postgres://relay@db/relay"),
            "postgres://relay@db/relay"
        );
    }
}
