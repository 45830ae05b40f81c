#!/bin/sh
# 100 conversations of ten sockets, 500 events a second in all.
exec "$(dirname "$0")/run.sh" groups "$@"
