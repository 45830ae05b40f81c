//! Pure. What can go wrong with Postgres, without a word of what was sent to it.

use tokio_postgres::error::SqlState;

use crate::telemetry::with_causes;

/// A failed call. Holds the SQLSTATE at most: messages and details of Postgres
/// show values, and values are identities. Only why no session came about is told in
/// words, which are of hosts, certificates and roles.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The file of the authorities whose certificates we would trust.
    #[error("database.ca_file (DATABASE_CA_FILE) cannot be used: {0}")]
    Authorities(String),
    /// Two transactions stood in each other's way; the same call may succeed now.
    #[error("Postgres gave up one of two transactions (SQLSTATE {0})")]
    Contention(String),
    /// Postgres does not let us in: a password, a role, `pg_hba.conf`.
    #[error("Postgres refused the connection: {0}")]
    Denied(String),
    /// Nothing can be written until there is room.
    #[error("the disk of Postgres is full (SQLSTATE 53100)")]
    DiskFull,
    /// Others take bytes for characters, or do not have all of them.
    #[error("the database's encoding is {0}: it must be UTF8")]
    Encoding(String),
    /// Postgres ended it for a reason that passes: a stop, a lack of resources.
    #[error("Postgres cannot serve this now (SQLSTATE {code}){}", remedy(.0), code = .0)]
    Interrupted(String),
    /// Whoever has the lock keeps it: an operator, a dump, a migration.
    #[error(
        "a lock of Postgres was not to be had in time (SQLSTATE 55P03): somebody's transaction \
         holds it"
    )]
    Locked,
    /// There is no table for the day that it is.
    #[error("the day has no table yet, or somebody has taken it out (SQLSTATE 23514)")]
    NoDay,
    /// A standby, a primary that became one, or one that was told to take no writes.
    #[error(
        "the database takes no writes (SQLSTATE 25006): it is a standby, or \
         default_transaction_read_only is on"
    )]
    ReadOnly,
    /// Our fault or an operator's: a constraint, a missing table, a lacking right.
    #[error("Postgres refused a statement (SQLSTATE {code}){}", remedy(.0), code = .0)]
    Refused(String),
    /// A row or parameter did not have the type that the code expects.
    #[error("a value of Postgres could not be read or written")]
    Shape,
    /// The answer did not come in time.
    #[error("Postgres did not answer in time")]
    Timeout,
    /// No connection, or it was lost. Whether the statement ran is unknown.
    #[error("Postgres cannot be reached")]
    Unavailable,
    /// No connection came about, and this is why.
    #[error("Postgres cannot be reached: {0}")]
    Unreachable(String),
    /// The schema was made by a newer release.
    #[error(
        "the database schema, version {found}, is newer than this release, which knows {known}"
    )]
    SchemaTooNew { found: i32, known: i32 },
    /// The schema was made by a release from before the one before.
    #[error(
        "the database schema, version {found}, is older than {base}, with which this release begins: \
         start a release whose schema is version {base} on it once"
    )]
    SchemaTooOld { found: i32, base: i32 },
    /// A text of `sql/` is not what was applied.
    #[error("what makes version {0} of the schema was changed after it had been applied")]
    SchemaChanged(i32),
}

impl StoreError {
    /// A closed label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Contention(_) => "contention",
            Self::Denied(_) | Self::NoDay | Self::Refused(_) => "refused",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Shape => "shape",
            Self::Locked | Self::Timeout => "timeout",
            Self::Authorities(_)
            | Self::Interrupted(_)
            | Self::Unavailable
            | Self::Unreachable(_) => "unavailable",
            Self::Encoding(_)
            | Self::SchemaTooNew { .. }
            | Self::SchemaTooOld { .. }
            | Self::SchemaChanged(_) => "schema",
        }
    }

    /// Whether waiting may help: it passes, or whoever did it undoes it. Others are faults to be
    /// mended.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Locked | Self::NoDay | Self::Timeout) || self.is_worth_a_second()
    }

    /// Whether the statement may be sent once more at once, if it does nothing twice: what
    /// cut it off may be over, or another session may not meet it.
    pub(super) fn is_worth_a_second(&self) -> bool {
        matches!(
            self,
            Self::Contention(_)
                | Self::DiskFull
                | Self::Interrupted(_)
                | Self::ReadOnly
                | Self::Unavailable
                | Self::Unreachable(_)
        )
    }

    /// The same, with where it was looked for: what a system says of a name or a port that it
    /// does not know does not tell which.
    pub(super) fn at(self, hosts: &str) -> Self {
        match self {
            Self::Unreachable(why) => Self::Unreachable(format!("{why} (at {hosts})")),
            other => other,
        }
    }

    /// Why a session that came about is of no use.
    pub(super) fn opening(error: &tokio_postgres::Error) -> Self {
        match error.code() {
            Some(state) if *state == SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            _ => Self::Unreachable(cause(error)),
        }
    }

    /// Why no session came about.
    pub(super) fn connecting(error: &tokio_postgres::Error) -> Self {
        match error.code() {
            Some(state) if !is_unavailable(state.code()) => Self::Denied(cause(error)),
            _ => Self::Unreachable(cause(error)),
        }
    }
}

/// What operators can mend, of which a code alone tells little.
fn remedy(code: &str) -> &'static str {
    match code {
        "42501" => ": the role must own the database, or its schema and all its tables",
        "53200" => ": it has no room for more locks; raise max_locks_per_transaction",
        "54000" => {
            ": its notification queue is full, or its transaction ids have run out; its own log \
             says which"
        }
        _ => "",
    }
}

/// What failed before there was a session, with what lies under it, in one line.
fn cause(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let why = with_causes(error);
    match why.ends_with(NO_TLS) {
        true => format!("{why}, which sslmode=require in its URL asks for"),
        false => why,
    }
}

/// As the client says of every answer that is no yes: also of a server's that has no process to
/// spare for the moment. So it may pass, as far as we know.
const NO_TLS: &str = "server does not support TLS";

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            // Without a SQLSTATE it never reached Postgres, or came back broken.
            return match error.to_string().contains("serializ") {
                true => Self::Shape,
                false => Self::Unavailable,
            };
        };
        match state.code() {
            // A serialization failure, a deadlock.
            code @ ("40001" | "40P01") => Self::Contention(code.to_owned()),
            // Cancelled.
            "57014" => Self::Timeout,
            "55P03" => Self::Locked,
            "23514" if is_unnamed(&error) => Self::NoDay,
            "53100" => Self::DiskFull,
            "25006" => Self::ReadOnly,
            code if is_unavailable(code) => Self::Interrupted(code.to_owned()),
            code => Self::Refused(code.to_owned()),
        }
    }
}

/// Whether no constraint was violated that has a name, but the bounds of all partitions together.
fn is_unnamed(error: &tokio_postgres::Error) -> bool {
    let said = error.as_db_error();
    said.is_some_and(|said| said.constraint().is_none())
}

/// Class 08 is the connection, 53 resources, 57P an operator's stop, 58 the disk
/// (PostgreSQL Appendix A). 54000 is what a full notification queue gives, and a server that
/// waits for VACUUM before it gives out more transaction ids.
fn is_unavailable(code: &str) -> bool {
    ["08", "53", "54000", "57P", "58"]
        .iter()
        .any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_a_full_disk_and_a_demoted_primary_are_outages_not_faults() {
        for code in ["08006", "53300", "54000", "57P01", "57P03", "58030"] {
            assert!(is_unavailable(code), "{code}");
        }
        for (error, kind) in [
            (StoreError::DiskFull, "disk_full"),
            (StoreError::Interrupted("57P01".to_owned()), "unavailable"),
            (StoreError::ReadOnly, "read_only"),
        ] {
            assert!(error.is_transient(), "{error}");
            assert_eq!(error.label(), kind);
        }
        assert!(!is_unavailable("23505"));
        assert!(!is_unavailable("57014"));
    }

    #[test]
    fn a_code_that_operators_can_do_something_about_says_what() {
        let refused = |code: &str| StoreError::Refused(code.to_owned()).to_string();
        assert!(refused("42501").ends_with(
            "(SQLSTATE 42501): the role must own the database, or its schema and all its tables"
        ));
        assert!(refused("23505").ends_with("(SQLSTATE 23505)"));
        let interrupted = |code: &str| StoreError::Interrupted(code.to_owned()).to_string();
        assert!(interrupted("53200").ends_with("raise max_locks_per_transaction"));
        assert!(interrupted("54000").ends_with("its own log says which"));
        assert!(interrupted("57P01").ends_with("(SQLSTATE 57P01)"));
    }
}
