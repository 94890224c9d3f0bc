# Shared by every script of e2e/: where things are, and how progress is told. Sourced, never run.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Everything that takes minutes to make and does not depend on the checkout lives here, named by version or content.
cache=${BIRBNEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/birbnest}
# Release binaries: one profile for tests, images, `make up` and `make local`.
binaries=${CARGO_TARGET_DIR:-$repository/target}/release
export PATH="$cache/bin:$PATH"

# Progress for people, on stderr: standard output belongs to the lines that other tools read.
say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# until_true SECONDS COMMAND...: polls until the command succeeds; says what it waited for when it does not.
until_true() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then printf 'error: timed out waiting for: %s\n' "$*" >&2; return 1; fi
    sleep 0.1
  done
}

# content_of PATH...: a short name for the content of files and folders, whatever their dates are.
content_of() {
  find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | awk '{print $1}' | sha256sum | cut -c1-12
}
