#!/bin/sh
# Everyone loses the connection, again and again, and resumes.
exec "$(dirname "$0")/run.sh" storm "$@"
