#!/usr/bin/env bash
# Three nodes, one Miroir over them, sample data, and five commands worth trying. Stays up until Ctrl-C.
#
#   MEILISEARCH_BIN=/path/to/meilisearch   real nodes (else `meilisearch` from PATH, else development nodes)
#   DEMO_RECORDS=20000                     how many records of the Debian package index to load; 0 loads all
#   DEMO_PROFILE=demo                      the cargo profile: demo, release or dev
#   DEMO_ONCE=1                            run the commands, check their answers, lose a node, search again, stop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=demo
. demo/cluster.sh

readonly BATCH=2500
profile="${DEMO_PROFILE:-demo}"
records="${DEMO_RECORDS:-20000}"

find_nodes() {
  if [ -n "${MEILISEARCH_BIN:-}" ]; then
    [ -x "$MEILISEARCH_BIN" ] || die "MEILISEARCH_BIN=$MEILISEARCH_BIN is not an executable file"
    meilisearch="$(realpath "$MEILISEARCH_BIN")"
  else
    meilisearch="$(command -v meilisearch || true)"
  fi
}

build() {
  have cargo || die "Rust is missing: see https://rustup.rs"
  local packages=(-p miroir-proxy -p miroir-ctl)
  [ -n "$meilisearch" ] || packages+=(-p miroir-devnode)
  say "building (the first time takes ten minutes or more; DEMO_PROFILE=dev is faster to build, and slower to run) ..."
  cargo build --profile "$profile" --locked "${packages[@]}"
  local target
  target="$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
  binaries="$target/$([ "$profile" = dev ] && echo debug || echo "$profile")"
}

# api METHOD PATH [CURL ARGUMENTS...]: the answer's body; fails with it on any error.
api() {
  local method=$1 path=$2
  shift 2
  curl -sS --fail-with-body --max-time 120 -X "$method" "$url$path" -H "Authorization: Bearer $MASTER_KEY" "$@"
}

# The number behind "$1": in standard input, the first one.
number_of() { grep -o "\"$1\":[0-9]*" | sed -n "1s/.*://p"; }

wait_for_task() {
  local uid=$1 end=$((SECONDS + 900)) answer
  while ((SECONDS < end)); do
    answer="$(api GET "/tasks/$uid")"
    case "$answer" in
      *'"status":"succeeded"'*) return ;;
      *'"status":"failed"'* | *'"status":"canceled"'*) die "task $uid did not succeed: $answer" ;;
    esac
    sleep 0.2
  done
  die "task $uid is not finished after 15 minutes"
}

prepare_data() {
  data="$work/data.ndjson"
  if have python3 && have apt-cache && apt-cache dumpavail 2>/dev/null | python3 demo/packages.py "$records" >"$data" \
    && [ "$(wc -l <"$data")" -ge 1000 ]; then
    say "data: the package index of this machine"
  else
    cp demo/sample.ndjson "$data"
    say "data: demo/sample.ndjson"
  fi
  total="$(wc -l <"$data" | tr -d ' ')"
  split -l "$BATCH" "$data" "$work/batch-"
}

load_data() {
  local batch answer uid uids=() sent=0 done_count=0
  api POST /indexes -H 'Content-Type: application/json' -d '{"uid":"packages","primaryKey":"id"}' >/dev/null
  answer="$(api PATCH /indexes/packages/settings -H 'Content-Type: application/json' -d '{
    "searchableAttributes": ["name", "summary", "description", "tags"],
    "filterableAttributes": ["section", "priority", "size"],
    "sortableAttributes": ["name", "size"]}')"
  wait_for_task "$(number_of taskUid <<<"$answer")"
  for batch in "$work"/batch-*; do
    answer="$(api POST /indexes/packages/documents -H 'Content-Type: application/x-ndjson' --data-binary "@$batch")"
    uids+=("$(number_of taskUid <<<"$answer")")
    sent=$((sent + $(wc -l <"$batch")))
    progress "sent $sent of $total records"
  done
  for uid in "${uids[@]}"; do
    wait_for_task "$uid"
    done_count=$((done_count + 1))
    progress "indexed $done_count of ${#uids[@]} batches ($total records)"
  done
  [ ! -t 1 ] || printf '\n'
  answer="$(api GET /indexes/packages/stats | number_of numberOfDocuments)"
  [ "$answer" = "$total" ] || die "$total records were loaded, but the index counts $answer"
}

# One line that rewrites itself on a terminal; plain lines elsewhere.
progress() {
  if [ -t 1 ]; then printf '\r%-60s' "$1"; else say "$1"; fi
}

# The five commands, as they are printed and run.
define_commands() {
  local search="curl -s $url/indexes/packages/search -H 'Authorization: Bearer $MASTER_KEY' -H 'Content-Type: application/json'"
  titles=(
    "search, with typing errors"
    "filter and count by facet"
    "sort: the largest editors first"
    "one document by its id"
    "where the shards are"
  )
  commands=(
    "$search -d '{\"q\":\"text editr\",\"limit\":3,\"attributesToRetrieve\":[\"name\",\"section\",\"summary\"]}'"
    "$search -d '{\"q\":\"editor\",\"filter\":\"section IN [editors, utils]\",\"facets\":[\"section\",\"priority\"],\"limit\":2}'"
    "$search -d '{\"filter\":\"section = editors\",\"sort\":[\"size:desc\"],\"limit\":3,\"attributesToRetrieve\":[\"name\",\"size\"]}'"
    "curl -s $url/indexes/packages/documents/bash -H 'Authorization: Bearer $MASTER_KEY'"
    "curl -s $url/_miroir/topology -H 'Authorization: Bearer $ADMIN_KEY'"
  )
}

invite() {
  local i ctl="MIROIR_URL=$url MIROIR_ADMIN_API_KEY=$ADMIN_KEY $binaries/miroir-ctl"
  cat <<TEXT

Miroir is up, $total documents loaded.

  URL        $url
  master key $MASTER_KEY
  admin key  $ADMIN_KEY

Worth trying:
TEXT
  for i in "${!commands[@]}"; do
    printf '\n# %d. %s\n%s\n' "$((i + 1))" "${titles[$i]}" "${commands[$i]}"
  done
  cat <<TEXT

Then lose a node and search again; the answers stay complete:

kill -9 ${node_pids[1]}

Start it again in another terminal (and stop it there when you are done), and see that its copies are made equal to the others:

${node_commands[1]}
$ctl status

Ctrl-C stops everything and removes the data.
TEXT
}

expect() {
  local what=$1 answer=$2 pattern=$3
  [[ "$answer" =~ $pattern ]] || die "$what: expected $pattern in: ${answer:0:600}"
}

# Runs the commands and holds each answer to what it should show.
check_commands() {
  local i answers=() sizes
  for i in "${!commands[@]}"; do
    answers[i]="$(bash -c "${commands[$i]}")"
    printf '\n# %d. %s\n%s\n' "$((i + 1))" "${titles[$i]}" "${answers[$i]:0:400}"
    [ "$i" = 4 ] || [[ "${answers[$i]}" != *_miroir_* ]] || die "${titles[$i]}: a field of Miroir's own shows"
  done
  expect "${titles[0]}" "${answers[0]}" '"section":"editors"'
  expect "${titles[1]}" "${answers[1]}" '"facetDistribution":\{.*"editors":[1-9]'
  sizes="$(grep -o '"size":[0-9]*' <<<"${answers[2]}" | sed 's/.*://')"
  [ "$(wc -l <<<"$sizes")" -ge 2 ] || die "${titles[2]}: too few hits: ${answers[2]}"
  sort -c -n -r <<<"$sizes" || die "${titles[2]}: out of order: ${answers[2]}"
  expect "${titles[3]}" "${answers[3]}" '"id":"bash"'
  expect "${titles[4]}" "${answers[4]}" '"shards":16.*"meili-2"'
}

# With two copies of each shard, one lost node changes no answer.
check_a_lost_node() {
  local before after
  before="$(bash -c "${commands[1]}" | number_of estimatedTotalHits)"
  kill -9 "${node_pids[1]}"
  wait "${node_pids[1]}" 2>/dev/null || true
  after="$(bash -c "${commands[1]}" | number_of estimatedTotalHits)"
  [ -n "$before" ] && [ "$before" = "$after" ] || die "with one node lost, $before hits became ${after:-none}"
  printf '\nwith node meili-1 killed the same %s documents are found\n' "$after"
}

main() {
  have curl || die "curl is missing"
  forget_settings
  find_nodes
  build
  work="$(mktemp -d "${TMPDIR:-/tmp}/miroir-demo.XXXXXX")"
  start_nodes
  start_miroir
  prepare_data
  load_data
  define_commands
  if [ -n "${DEMO_ONCE:-}" ]; then
    check_commands
    check_a_lost_node
    say "demo: all good"
  else
    invite
    trap 'exit 0' INT
    wait "$miroir_pid" || { tail -n 20 "$work/miroir.log" >&2; die "Miroir ended; its log is above"; }
  fi
}

main
