#!/bin/sh
# The same load, larger and larger: --axis sockets, groups or rate.
exec "$(dirname "$0")/run.sh" growth "$@"
