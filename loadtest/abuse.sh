#!/bin/sh
# Hostile neighbours against limits that stand; honest phones must not notice.
exec "$(dirname "$0")/run.sh" abuse "$@"
