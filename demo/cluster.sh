# Three nodes and one Miroir over them, on free ports, for scripts that source this file.
#
# The script sets `name` for its messages, `binaries` (a folder), `work` (an empty folder) and, for real nodes,
# `meilisearch`. It gets `url`, `node_ports`, `node_pids` and `miroir_pid`; all is stopped and `work` removed at its end.

readonly MASTER_KEY=miroir-demo-master-key
readonly NODE_KEY=miroir-demo-node-key
readonly ADMIN_KEY=miroir-demo-admin-key

work=""
meilisearch=""
pids=()
node_pids=()
node_ports=()
node_commands=()
taken=()

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$name" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Ends what this script started, and nothing else.
clean_up() {
  trap - EXIT INT TERM
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$work" ] || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The first free port from $1 on, in $port; not one that was given out before.
free_port() {
  for ((port = $1; port < $1 + 500; port++)); do
    [[ " ${taken[*]-} " != *" $port "* ]] || continue
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      taken+=("$port")
      return
    fi
  done
  die "no free port from $1 on"
}

# wait_for SECONDS WHAT LOG PID COMMAND...: until the command succeeds, while the process lives.
wait_for() {
  local end=$((SECONDS + $1)) what=$2 log=$3 pid=$4
  shift 4
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null; then
      tail -n 20 "$log" >&2
      die "$what ended; its log is above"
    fi
    if ((SECONDS >= end)); then
      tail -n 20 "$log" >&2
      die "$what is not ready in time; its log is above"
    fi
    sleep 0.2
  done
}

# Settings in the caller's environment are not meant for these nodes.
forget_settings() {
  local setting
  for setting in $(compgen -e | grep '^MIROIR_' || true); do unset "$setting"; done
}

start_nodes() {
  local i log
  for i in 0 1 2; do
    free_port 7701
    node_ports+=("$port")
    log="$work/node-$i.log"
    if [ -n "$meilisearch" ]; then
      node_commands+=("cd $work && $meilisearch --env development --no-analytics --master-key $NODE_KEY --http-addr 127.0.0.1:$port --db-path $work/node-$i")
      (cd "$work" && exec "$meilisearch" --env development --no-analytics --master-key "$NODE_KEY" \
        --http-addr "127.0.0.1:$port" --db-path "$work/node-$i") >"$log" 2>&1 &
    else
      node_commands+=("$binaries/miroir-devnode --nodes 1 --port $port --data $work/node-$i --master-key $NODE_KEY")
      "$binaries/miroir-devnode" --nodes 1 --port "$port" --data "$work/node-$i" --master-key "$NODE_KEY" \
        >"$log" 2>&1 &
    fi
    node_pids+=("$!")
    pids+=("$!")
  done
  for i in 0 1 2; do
    wait_for 60 "node $i" "$work/node-$i.log" "${node_pids[$i]}" \
      curl -sf --max-time 2 "http://127.0.0.1:${node_ports[$i]}/health"
  done
  say "three nodes: ${meilisearch:-development nodes} on ports ${node_ports[*]}"
}

start_miroir() {
  free_port 7700
  url="http://127.0.0.1:$port"
  local server_port=$port
  free_port 9090
  cat >"$work/miroir.yaml" <<YAML
master_key: $MASTER_KEY
node_master_key: $NODE_KEY
shards: 16
replication_factor: 2
nodes:
  - { id: meili-0, address: "http://127.0.0.1:${node_ports[0]}" }
  - { id: meili-1, address: "http://127.0.0.1:${node_ports[1]}" }
  - { id: meili-2, address: "http://127.0.0.1:${node_ports[2]}" }
server: { bind: 127.0.0.1, port: $server_port }
metrics: { bind: 127.0.0.1, port: $port }
admin: { api_key: $ADMIN_KEY }
task_store: { path: "$work/miroir.db" }
log: { level: warn, format: text }
YAML
  "$binaries/miroir-proxy" --config "$work/miroir.yaml" >"$work/miroir.log" 2>&1 &
  miroir_pid=$!
  pids+=("$miroir_pid")
  wait_for 60 Miroir "$work/miroir.log" "$miroir_pid" curl -sf --max-time 2 "$url/_miroir/ready"
  say "Miroir: $url (16 shards, 2 copies of each)"
}
