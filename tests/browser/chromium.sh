#!/bin/bash
# Find a Chromium for the browser tests, or install Debian's where that is allowed; else one line that says what to do.
set -euo pipefail
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
  if [ -n "$name" ] && command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's chromium for the browser tests ..."
  export DEBIAN_FRONTEND=noninteractive
  if apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null </dev/null; then
    exit 0
  fi
fi
echo "Browser tests are not run: no Chromium here; install one (Debian: apt-get install chromium) or set" \
  "CHROMIUM=/path/to/it, then run make test again."
