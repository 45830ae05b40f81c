#!/bin/sh
# Shows an operator that a relay's limits hold: 70 requests from this address, the
# headers that come with them, and whether waiting as long as told lets one in.
#
#   loadtest/rate-limits.sh [https://localhost:8443] [requests] [path]
#
# With TOKEN="…" in the environment it sends that as a service token: then the request
# counts against the account's quota for the call in PATH (one token serves many
# requests only where ENFORCE_JTI=false). A procedure gets an empty object, which it may
# refuse: that counts all the same.
#
# Run it from an address that is not in LIMITS_EXEMPT, and not against a relay that
# people use: for a minute, requests without a token from here are refused.

set -eu

url=${1:-https://localhost:8443}
requests=${2:-70}
path=${3:-/xrpc/blue.catbird.mls.getConvos}
url=${url%/}
case $url in
http*://?*) ;;
*) requests= ;;
esac
case $requests in
'' | 0* | *[!0-9]*)
    echo "usage: $0 [https://HOST:PORT] [requests, 1 or more] [path]" >&2
    exit 2
    ;;
esac
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

# One request; its status in $status, its headers in $headers.
post=
request() {
    # Where nobody answers, curl fails and says 000.
    status=$(curl --silent --insecure --max-time 10 --output /dev/null --dump-header "$headers" \
        ${TOKEN:+--header "Authorization: Bearer $TOKEN"} \
        ${post:+--data '{}' --header 'Content-Type: application/json'} --write-out '%{http_code}' "$url$path") || true
    if [ "${status:-000}" = 000 ]; then
        echo "request $n: no answer (refused before TLS, or nobody listens there)" >&2
        exit 2
    fi
}

header() {
    tr -d '\r' <"$headers" | awk -F': ' -v name="$1" 'tolower($1) == name { print $2 }'
}

echo "$requests requests to $url$path"
passed=0 refused=0 first_refused=0 n=0
while [ "$n" -lt "$requests" ]; do
    n=$((n + 1))
    request
    if [ "$status" = 405 ] && [ -z "$post" ]; then
        post=yes
        request
    fi
    if [ "$status" = 429 ]; then
        refused=$((refused + 1))
        [ "$first_refused" -ne 0 ] || first_refused=$n
    else
        passed=$((passed + 1))
    fi
    if [ "$n" -eq 1 ] || [ "$n" -eq "$first_refused" ]; then
        echo "request $n: $status, limit $(header ratelimit-limit), remaining $(header ratelimit-remaining)," \
            "policy $(header ratelimit-policy), retry-after $(header retry-after | grep . || echo none)"
    fi
done
echo "passed $passed, refused $refused, the first refusal was request $first_refused"

if [ "$refused" -eq 0 ]; then
    echo "Nothing was refused: is this address exempt, or the limit above $requests?" >&2
    exit 1
fi
wait=$(header retry-after)
if [ -z "$wait" ]; then
    echo "The last refusal has no Retry-After." >&2
    exit 1
fi
echo "waiting $wait s, as told"
sleep "$wait"
request
if [ "$status" = 429 ]; then
    echo "Refused after waiting as told." >&2
    exit 1
fi
echo "and in: $status"
