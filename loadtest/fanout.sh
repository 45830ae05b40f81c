#!/bin/sh
# How fast one message reaches a thousand sockets.
exec "$(dirname "$0")/run.sh" fanout "$@"
