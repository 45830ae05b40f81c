#!/bin/sh
# Plays a scenario of scenarios/ with one command, and leaves the report as JSON and as
# a page in target/loadtest; growth leaves JSON only. The scripts beside this one name the
# scenario.
#
#   loadtest/run.sh NAME|FILE [options of `loadtest run`, such as --seconds 60]
#   loadtest/run.sh growth [options of `loadtest growth`, such as --axis groups]
#
# Without more it builds what is missing, which takes minutes the first time, and starts a
# relay of its own. A relay that runs already:
#
#   RELAY=https://relay.example.com CERTIFICATE=ca.pem SERVICE_DID=did:web:relay.example.com \
#       DIRECTORY=0.0.0.0:2582 loadtest/run.sh chat
#
# It must find the accounts of the run in the directory that is served at DIRECTORY (its
# PLC_URL), and have the settings of README.md, which keep its limits out of the way.
# PID=… names its process if it runs here, to measure what it uses; ADMIN=127.0.0.1:9090
# is where it shows its metrics, to learn whether it felt slow sockets.

set -eu

name=${1:?"usage: $0 NAME|FILE [options]"}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
own=yes

if [ -n "${RELAY:-}" ]; then
    own=
    set -- --relay "$RELAY" --certificate "${CERTIFICATE:?the file of the certificates to trust}" \
        --service-did "${SERVICE_DID:?the DID of the relay}" \
        --directory "${DIRECTORY:?the address that its PLC_URL points to, such as 0.0.0.0:2582}" "$@"
    [ -z "${PID:-}" ] || set -- --pid "$PID" "$@"
    [ -z "${ADMIN:-}" ] || set -- --admin "$ADMIN" "$@"
elif [ -n "${CERTIFICATE:-}${DIRECTORY:-}" ]; then
    # Misspelt, it would be another relay that is measured.
    : "${RELAY:?must be set, to the relay that CERTIFICATE and DIRECTORY are of}"
fi

# Not quiet: a release takes minutes, in which one wants to see that something happens.
"${CARGO:-cargo}" build --release --workspace --manifest-path "$root/Cargo.toml" \
    --bin loadtest ${own:+--bin mls-relay}
mkdir -p "$target/loadtest"

reports=$target/loadtest/$(basename "$name" .toml)
case $name in
growth) exec "$target/release/loadtest" growth --json "$reports.json" "$@" ;;
*) exec "$target/release/loadtest" run "$name" --json "$reports.json" --html "$reports.html" "$@" ;;
esac
