#!/bin/sh
# Many small conversations, as people have them.
exec "$(dirname "$0")/run.sh" chat "$@"
