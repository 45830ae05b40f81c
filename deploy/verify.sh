#!/bin/sh
# Checks a running relay's promises the way an operator would: from outside, and in its
# database. It reads; the only thing it changes is the rate limit's count of this address.
#
#   deploy/verify.sh URL ADMIN_URL DATABASE_URL [LOG_FILE]
#
#   deploy/verify.sh https://relay.example.com http://127.0.0.1:9090 "$DATABASE_URL" relay.log
#
# LOG_FILE is the standard error of a relay that runs at its default level; under systemd,
# journalctl --unit mls-relay --output cat >relay.log. Environment:
#   CACERT                     the certificate to trust, such as certs/localhost.pem
#   RATE_LIMIT_IP_PER_MINUTE   60 and
#   IP_RATE_BURST              6, unless the relay was told otherwise
# Needs curl and psql. Exit code: 0 when every check passed, 1 when one failed, 64 when
# called wrongly. A check that could not be made is neither, and says so.
set -u

if [ $# -lt 3 ] || [ $# -gt 4 ]; then
    sed -n 's/^#   //p' "$0" | head -2 >&2
    exit 64
fi
url=${1%/} admin=${2%/} database=$3 log=${4-}
limit=${RATE_LIMIT_IP_PER_MINUTE:-60}
burst=${IP_RATE_BURST:-6}
passed=0 failed=0

pass() {
    passed=$((passed + 1))
    echo "pass  $1"
}

fail() {
    failed=$((failed + 1))
    echo "FAIL  $1"
    [ $# -lt 2 ] || echo "      $2"
}

skip() {
    echo "skip  $1"
    [ $# -lt 2 ] || echo "      $2"
}

# judge NAME FOUND WANTED
judge() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "found ${2:-nothing}, not $3"; fi
}

fetch() {
    curl --silent --show-error --max-time 10 ${CACERT:+--cacert "$CACERT"} "$@" 2>&1
}

ask() {
    psql "$database" --no-psqlrc --tuples-only --no-align --quiet --command "$1" 2>&1
}

# --- From outside ---

health() {
    judge "the admin listener says that the relay is ready" \
        "$(fetch --output /dev/null --write-out '%{http_code}' "$admin/health/ready")" 200
    # This answer spends one request of this address.
    spent=1
    judge "to strangers, health is a status and nothing else" \
        "$(fetch --write-out '%{http_code} %{size_download}' "$url/health/live")" "200 0"
}

# Sends $1 requests from this address and prints "admitted refused without" (refusals
# without a usable Retry-After) and whether any passed after the first refusal.
knock() {
    headers=$(mktemp)
    urls=$(mktemp)
    i=0
    while [ $i -lt "$1" ]; do
        printf 'url = "%s/health/live"\noutput = "/dev/null"\n' "$url"
        i=$((i + 1))
    done >"$urls"
    # One process, one connection: 70 handshakes would measure something else.
    fetch --config "$urls" --dump-header "$headers" >/dev/null
    tr -d '\r' <"$headers" | awk '
        function judge() {
            if (!status) return
            if (status == 429) { refused++; if (retry !~ /^[0-9]+$/ || retry < 1) without++ }
            else { admitted++; if (refused) late++ }
        }
        /^HTTP\// { judge(); status = $2; retry = "" }
        tolower($1) == "retry-after:" { retry = $2 }
        END { judge(); print admitted + 0, refused + 0, without + 0, late + 0 }'
    rm -f "$headers" "$urls"
}

limits() {
    total=$((limit + burst + 4))
    # shellcheck disable=SC2046 # four words
    set -- $(knock "$total")
    admitted=$1 refused=$2 without=$3 late=$4
    name="of $total requests in a moment, at least $((limit - spent)) pass and at most $((limit + burst - spent))"
    if [ "$admitted" -ge $((limit - spent)) ] && [ "$admitted" -le $((limit + burst - spent)) ]; then
        pass "$name ($admitted passed)"
    elif [ "$admitted" -eq "$total" ]; then
        fail "$name" "all passed: is this address exempt, or limits.dry_run set?"
    else
        fail "$name" "$admitted passed; had this address asked within the last minute?"
    fi
    judge "the others are refused with 429" "$refused" "$((total - admitted))"
    judge "each refusal says when to come back (Retry-After)" "$without" 0
    judge "nothing passes after the first refusal" "$late" 0
}

# --- In the database ---

# count NAME SQL: passes when the count is 0.
count() {
    judge "$1" "$(ask "SELECT count(*) FROM $2")" 0
}

stored() {
    if [ "$(ask 'SELECT 1')" != 1 ]; then
        fail "the database answers" "$(ask 'SELECT 1' | head -1)"
        return
    fi
    count "no message has a sender" "messages WHERE sender_did IS NOT NULL"
    judge "and none can have: the constraint stands" "$(ask "
        SELECT count(*) FROM pg_constraint WHERE conrelid = 'messages'::regclass AND convalidated
        AND pg_get_constraintdef(oid) ILIKE '%sender_did IS NULL%'")" 1
    count "a message's event is its cursor, its conversation and its id" "
        event_stream e WHERE kind = 'message' AND (
            SELECT array_agg(k ORDER BY k) FROM json_object_keys(e.payload) k
        ) IS DISTINCT FROM ARRAY['convoId', 'cursor', 'messageId']"
    count "no event carries ciphertext" "event_stream WHERE payload::text ILIKE '%ciphertext%'"
    count "every application message has the size of a bucket" "
        messages WHERE kind = 'app' AND NOT (octet_length(ciphertext) IN (512, 1024, 2048, 4096)
            OR (octet_length(ciphertext) > 0 AND octet_length(ciphertext) % 8192 = 0))"
    count "no message's size is another than its bucket" "
        messages WHERE declared_size <> padded_size OR padded_size <> octet_length(ciphertext)"
    coarse
}

# Every time column that the relay fills. When key packages and tokens expire is the client's
# choice, migrations are ours.
coarse() {
    columns=$(ask "
        SELECT c.relname || ' ' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT c.relispartition AND a.atttypid = 'timestamptz'::regtype
        AND NOT (a.attname = 'expires_at' AND c.relname IN ('key_packages', 'used_jti'))
        AND c.relname <> 'schema_migrations' ORDER BY 1")
    fine=$(echo "$columns" | while read -r table column; do
        found=$(ask "SELECT count(*) FROM $table
            WHERE $column <> date_bin('2 seconds', $column, 'epoch')")
        [ "$found" = 0 ] || echo "$table.$column"
    done)
    number=$(echo "$columns" | wc -l | tr -d ' ')
    judge "no stored time is finer than 2 s, in $number columns" "${fine:-none}" none
}

# --- In its own account of itself ---

# ran TASK OUTCOME: whether a run of this task has ended so.
ran() {
    echo "$metrics" | grep '^relay_retention_runs_total{' | grep -F "task=\"$1\"" |
        grep -F "outcome=\"$2\"" | grep -qE ' [1-9][0-9]*$'
}

retention() {
    metrics=$(fetch "$admin/metrics")
    for task in days key_packages nonces; do
        if ran "$task" ok; then
            pass "retention of $task has run"
        elif ran "$task" elsewhere; then
            skip "retention of $task has run" "another node is at it: ask that one"
        else
            fail "retention of $task has run" "relay_retention_runs_total does not say so"
        fi
    done
    leaks=$(echo "$metrics" | grep -cE 'did:(plc|web|key):|[0-7][0-9A-HJKMNP-TV-Z]{25}')
    judge "no metric names an account, a message or a cursor" "$leaks" 0
}

silence() {
    if [ -z "$log" ]; then
        skip "the log is silent and names nobody" "no LOG_FILE was given"
        return
    fi
    if [ ! -r "$log" ]; then
        fail "the log can be read" "$log"
        return
    fi
    judge "the log has nothing below warn" \
        "$(grep -cE '(^|[^A-Za-z])(INFO|DEBUG|TRACE)([^A-Za-z]|$)' "$log")" 0
    judge "the log names no account" "$(grep -cE 'did:(plc|web|key):' "$log")" 0
    judge "the log holds no token" "$(grep -cE 'eyJ[A-Za-z0-9_-]{10}' "$log")" 0
    judge "the log holds no cursor and no message id" \
        "$(grep -cE '(^|[^0-9A-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}([^0-9A-Z]|$)' "$log")" 0
    judge "the log holds no query string" "$(grep -cE '[?&](cursor|ticket|convoId|did)=' "$log")" 0
}

health
limits
stored
retention
silence
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
