#!/bin/sh
# Everything at once, for five minutes or as long as --seconds says.
exec "$(dirname "$0")/run.sh" soak "$@"
