#!/usr/bin/env bash
# Runs the example of each SDK against Miroir over three nodes: development nodes, or MEILISEARCH_BIN.
#
#   examples/sdk/run.sh [python] [javascript] [rust] [browser]     all of them by default
#
# Needs miroir-proxy and miroir-devnode as `make test` builds them; the SDKs come from their registries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=examples
. demo/cluster.sh

# The oldest Node.js that the SDK for JavaScript says it runs on.
readonly NODE_VERSION=20.19.0

find_binaries() {
  local target
  target="$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
  binaries="$target/debug"
  export CARGO_TARGET_DIR="$target"
  if [ -n "${MEILISEARCH_BIN:-}" ]; then
    [ -x "$MEILISEARCH_BIN" ] || die "MEILISEARCH_BIN=$MEILISEARCH_BIN is not an executable file"
    meilisearch="$(realpath "$MEILISEARCH_BIN")"
  fi
  local binary
  for binary in miroir-proxy miroir-devnode; do
    [ -x "$binaries/$binary" ] || die "$binaries/$binary is missing: cargo build -p miroir-proxy -p miroir-devnode"
  done
}

node_is_recent() {
  node -e "$(printf 'const [a, b] = process.versions.node.split(".").map(Number), [c, d] = "%s".split(".").map(Number)
    process.exit(a > c || (a === c && b >= d) ? 0 : 1)' "$NODE_VERSION")" 2>/dev/null
}

find_chromium() {
  local browser
  [ -z "${CHROMIUM:-}" ] || { [ -x "$CHROMIUM" ]; return; }
  for browser in chromium chromium-browser google-chrome; do
    if CHROMIUM="$(command -v "$browser")"; then export CHROMIUM; return; fi
  done
  return 1
}

check_tools() {
  local example missing=() able=()
  for example in "${examples[@]}"; do
    case "$example" in
      python) python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=("python3 with venv (Debian: python3-venv)") ;;
      javascript)
        have npm && have node || { missing+=("node and npm"); continue; }
        # A distribution's Node.js may be older than the SDK wants: the other examples run all the same.
        node_is_recent \
          || { echo "NOT run: the JavaScript example wants Node.js $NODE_VERSION, this is $(node --version)" >&2; continue; }
        ;;
      browser)
        have npm && have node || { missing+=("node and npm"); continue; }
        node_is_recent || { echo "NOT run: the browser's example wants Node.js $NODE_VERSION, this is $(node --version)" >&2; continue; }
        find_chromium || { missing+=("a browser (Debian: chromium; or CHROMIUM=/path/to/it)"); continue; }
        ;;
      rust) ;;
      *) die "no example for $example: python, javascript, rust or browser" ;;
    esac
    able+=("$example")
  done
  examples=("${able[@]}")
  [ ${#missing[@]} -eq 0 ] || die "missing: $(printf '%s; ' "${missing[@]}")the examples cannot run"
}

run_python() {
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r examples/sdk/python/requirements.txt
  "$work/venv/bin/python" examples/sdk/python/main.py
}

run_javascript() {
  # Beside the films, as in the repository; modules are not left behind in it.
  mkdir "$work/javascript"
  cp examples/sdk/films.json "$work/"
  cp examples/sdk/javascript/{package.json,package-lock.json,main.js} "$work/javascript/"
  (cd "$work/javascript" && npm ci --loglevel=error --no-audit --no-fund && node main.js)
}

run_browser() {
  mkdir "$work/browser"
  cp examples/instantsearch/{package.json,package-lock.json,index.html,style.css,app.js,serve.js,check.js} "$work/browser/"
  (cd "$work/browser" && npm ci --loglevel=error --no-audit --no-fund && SAMPLES="$samples" node check.js)
}

run_rust() {
  cargo run --quiet --locked --manifest-path examples/sdk/rust/Cargo.toml
}

examples=("$@")
[ $# -gt 0 ] || examples=(python javascript rust browser)
readonly samples="file://$PWD/demo/sample.ndjson"
have curl || die "curl is missing"
forget_settings
check_tools
find_binaries
work="$(mktemp -d "${TMPDIR:-/tmp}/miroir-examples.XXXXXX")"
start_nodes
start_miroir
export MEILISEARCH_URL="$url" MEILISEARCH_MASTER_KEY="$MASTER_KEY"
for example in "${examples[@]}"; do
  printf '\n== %s\n' "$example"
  "run_$example" || die "the example for $example failed"
done
say "examples: all good"
