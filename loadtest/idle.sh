#!/bin/sh
# What a subscription costs when nothing happens.
exec "$(dirname "$0")/run.sh" idle "$@"
