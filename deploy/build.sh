#!/bin/sh
# Does what deploy/Dockerfile says, on this machine and without Docker: copies, builds,
# strips, lays the image out. Reading the Dockerfile keeps the two from differing.
#
#   deploy/build.sh --check        checks the Dockerfile's paths; builds nothing
#   deploy/build.sh DIRECTORY      builds, and lays the image's files out there
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dockerfile=$root/deploy/Dockerfile
ignore=$dockerfile.dockerignore
failed=0

fail() {
    echo "build.sh: $*" >&2
    failed=1
}

# The Dockerfile as one instruction a line: no comments, continuations joined.
instructions() {
    sed -e '/^[[:space:]]*#/d' "$dockerfile" |
        sed -e ':join' -e '/\\$/{N;s/\\\n[[:space:]]*/ /;bjoin' -e '}' |
        sed -e '/^[[:space:]]*$/d'
}

# The instructions of the first stage, or of the last.
stage() {
    instructions | awk -v want="$1" '/^FROM /{n++} (want == "first") == (n == 1)'
}

# "SOURCE DESTINATION" of each file that the first stage copies from the project.
copies() {
    stage first | awk '$1 == "COPY" { for (i = 2; i < NF; i++) print $i, $NF }'
}

# What the first stage runs, without the cache mounts, which only save time.
commands() {
    stage first | sed -n 's/^RUN //p' | sed -e 's/--mount=[^ ]* *//g'
}

check_sources() {
    copies | {
        while read -r source destination; do
            [ -e "$root/$source" ] || fail "COPY $source: there is no such file"
            grep -qxF "!$source" "$ignore" || fail "COPY $source: the .dockerignore keeps it out"
            # The layout of the build is the layout of the project.
            case $destination in
                ./ | "./$source") ;;
                *) fail "COPY $source: goes to $destination, not to ./$source" ;;
            esac
        done
        return $failed
    } || failed=1
    sed -n 's/^!//p' "$ignore" | {
        while read -r name; do
            copies | cut -d' ' -f1 | grep -qxF "$name" || fail ".dockerignore lets $name in, and nothing copies it"
        done
        return $failed
    } || failed=1
}

# Everything that the manifest and the sources name must have been copied.
check_manifest() {
    {
        sed -n 's/^members = \["\(.*\)"\]/\1/p' "$root/Cargo.toml"
        sed -n 's/.*{ path = "\([^"]*\)".*/\1/p' "$root/Cargo.toml"
        grep -q '^\[\[bench\]\]' "$root/Cargo.toml" && echo benches
        # The allocator's settings are compiled in from there, and nothing fails without them.
        [ ! -e "$root/.cargo/config.toml" ] || echo .cargo/config.toml
        # Text that is compiled in, seen from src/*/: only tests may reach further.
        grep -rhoE 'include_(str|bytes)!\("(\.\./)+[a-z]+/' "$root/src" | sed -e 's/.*\.\.\///' -e 's/\/$//' | sort -u
    } | {
        while read -r name; do
            copies | cut -d' ' -f1 | grep -qxF "$name" || fail "the build needs $name, and nothing copies it"
        done
        return $failed
    } || failed=1
}

check_image() {
    entry=$(stage last | sed -n 's/^ENTRYPOINT \["\([^"]*\)".*/\1/p')
    copied=$(stage last | awk '$1 == "COPY" && $2 == "--from=build" { print $3 }')
    [ -n "$entry" ] || fail "no ENTRYPOINT in the form that needs no shell"
    case " $(commands) " in
        *" image$entry "*) ;;
        *) fail "ENTRYPOINT $entry is not what the build makes" ;;
    esac
    [ "$copied" = /build/image/ ] || fail "the image is not copied from /build/image/"
    health=$(stage last | sed -n 's/.*CMD \["\([^"]*\)".*/\1/p')
    [ "$health" = "$entry" ] || fail "HEALTHCHECK runs $health, and the image has only $entry"
    stage last | grep -qE '^USER [1-9][0-9]*:[1-9][0-9]*$' || fail "USER must be a number other than 0"
    stage last | grep -q '^RUN' && fail "the last stage has no shell to RUN anything"
    return 0
}

check() {
    check_sources
    check_manifest
    check_image
    [ "$failed" = 0 ] || exit 1
}

build() {
    layout=$1
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    copies | while read -r source _; do
        mkdir -p "$(dirname "$context/$source")"
        cp -R "$root/$source" "$context/$source"
    done
    # Where cargo has been before, it need not begin again.
    (cd "$context" && CARGO_TARGET_DIR="$root/target" &&
        export CARGO_TARGET_DIR &&
        ln -s "$root/target" target &&
        eval "$(commands)")
    mkdir -p "$layout"
    cp -R "$context/image/." "$layout/"
    echo "the image's files are in $layout"
}

case ${1-} in
    --check) check && echo "the Dockerfile's paths agree" ;;
    "" | -*) sed -n 's/^#   //p' "$0" >&2; exit 64 ;;
    *) check && build "$1" ;;
esac
