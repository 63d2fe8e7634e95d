#!/usr/bin/env bash
# Runs the cluster of docker-compose.yml on the local container engine: first the sequence of docs/deployment.md as it
# is written there, then a paused container, a killed one, and a leader that is cut off from its peers while its
# clients still reach it. Takes away what it made, whatever happens.
#
#     docker/test.sh [BINARY]     with BINARY, a quorate that exists already
#
# Exit code 0: passed, or skipped because no engine answers (the last line says which).
set -euo pipefail
binary=${1:+$(realpath "$1")}
cd "$(dirname "$0")"

for program in docker docker-compose curl; do
    if ! command -v "$program" >/dev/null; then
        echo "SKIPPED: docker/test.sh: needs $program: it is not on this machine"
        exit 0
    fi
done
if ! docker info >/dev/null 2>&1; then
    echo "SKIPPED: docker/test.sh: needs docker: no container engine answers"
    exit 0
fi

export COMPOSE_PROJECT_NAME="quorate-test-$$"
answer=$(mktemp)

cleanup() {
    local code=$?
    trap - EXIT INT TERM
    if [ "$code" != 0 ]; then
        echo "--- the nodes' logs, since the test failed:"
        docker-compose logs --no-color --tail=60 || true
    fi
    # A paused container cannot be removed by every version of Compose.
    for id in 1 2 3; do docker unpause "quorate-node$id" >/dev/null 2>&1 || true; done
    docker-compose down --volumes --timeout 2 >/dev/null 2>&1 || true
    rm -f "$answer"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAILED: $*"
    exit 1
}

# status CURL-ARGUMENT...: the answer's status; its body is left in $answer. 000: there was no answer.
status() {
    curl -sS -m 20 -o "$answer" -w '%{http_code}' "$@" || true
}

# expect STATUS[|STATUS] TEXT CURL-ARGUMENT...: the answer, at the first attempt.
expect() {
    local wanted=$1 text=$2 got
    shift 2
    got=$(status "$@")
    case "|$wanted|" in
        *"|$got|"*) ;;
        *) fail "$*: status $got, not $wanted: $(cat "$answer")" ;;
    esac
    case "$(cat "$answer")" in
        *"$text"*) ;;
        *) fail "$*: $text is not in $(cat "$answer")" ;;
    esac
    echo "ok   $got $*"
}

# eventually SECONDS WHAT COMMAND...: for what takes its time, as a recovery does.
eventually() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not in time: $what: $(cat "$answer")"
        sleep 0.1
    done
    echo "ok   $what"
}

set_key() { # NODE KEY VALUE
    [ "$(status -X POST "http://localhost:808$1/api/set" -H 'Content-Type: application/json' \
        -d "{\"key\":\"$2\",\"value\":\"$3\"}")" = 200 ]
}
reads() { # NODE KEY VALUE
    [ "$(status "http://localhost:808$1/api/get?key=$2")" = 200 ] && grep -q "\"value\":\"$3\"" "$answer"
}
ready() { # NODE
    [ "$(status "http://localhost:808$1/readyz")" = 200 ]
}
find_leader() { # NODE...: sets $leader to what the nodes say
    local node
    for node in "$@"; do
        status "http://localhost:808$node/api/stats" >/dev/null
        leader=$(sed -n 's/.*"leader_id":\([1-7]\).*/\1/p' "$answer")
        [ -n "$leader" ] && return 0
    done
    return 1
}
others_of() { # NODE: sets $one and $two to the other nodes
    case "$1" in 1) one=2 two=3 ;; 2) one=1 two=3 ;; 3) one=1 two=2 ;; esac
}

echo "== the image"
# The two ways to build it end in the same image: after FROM they differ in where they copy from alone.
final_stage() { sed -n '/^FROM scratch/,$p' "$1" | grep -v '^COPY'; }
diff <(final_stage Dockerfile) <(final_stage Dockerfile.local) || fail "Dockerfile and Dockerfile.local differ"
./build-local.sh ${binary:+"$binary"}

echo "== the sequence, as written"
docker-compose up -d
for id in 1 2 3; do expect '200|503' '"health":' "http://localhost:808$id/health"; done
expect 200 '"commit_index":' http://localhost:8081/api/stats
expect 200 '"success":true' -X POST http://localhost:8081/api/set -H "Content-Type: application/json" \
    -d '{"key":"user:1001","value":"John Doe"}'
docker-compose stop node1
expect 200 '"success":true' -X POST http://localhost:8082/api/set -H "Content-Type: application/json" \
    -d '{"key":"test","value":"fault-tolerant"}'
expect 200 '"value":"fault-tolerant"' "http://localhost:8082/api/get?key=test"
docker-compose start node1
expect 200 '"value":"fault-tolerant"' "http://localhost:8081/api/get?key=test"

echo "== the image's own health check"
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' quorate-node1)" = healthy ]; }
eventually 30 "the engine finds node 1 healthy" healthy
[ "$(docker inspect -f '{{.Config.User}}' quorate-node1)" = 65532:65532 ] || fail "the container runs as root"

for id in 1 2 3; do eventually 20 "node $id is ready" ready "$id"; done

echo "== gRPC through the published ports, by the image's own commands"
quorate() { docker run --rm --network host quorate:local "$@"; }
for id in 1 2 3; do
    quorate set "grpc:$id" yes --endpoints "127.0.0.1:900$id" || fail "node $id: no write over gRPC"
    [ "$(quorate get "grpc:$id" --endpoints "127.0.0.1:900$id")" = yes ] || fail "node $id: no read over gRPC"
    echo "ok   gRPC of node $id"
done

echo "== the leader is paused"
find_leader 1 2 3 || fail "nobody knows a leader: $(cat "$answer")"
others_of "$leader"
docker pause "quorate-node$leader"
eventually 20 "a write through node $one while node $leader is paused" set_key "$one" paused yes
eventually 20 "a read through node $two" reads "$two" paused yes
docker unpause "quorate-node$leader"
eventually 20 "node $leader reads what it missed" reads "$leader" paused yes

echo "== the leader is killed"
find_leader 1 2 3 || fail "nobody knows a leader: $(cat "$answer")"
others_of "$leader"
docker kill --signal KILL "quorate-node$leader"
eventually 20 "a write through node $one while node $leader is dead" set_key "$one" killed yes
eventually 20 "a read through node $two" reads "$two" killed yes
docker start "quorate-node$leader"
eventually 20 "node $leader reads what it missed" reads "$leader" killed yes

echo "== the leader is cut off from its peers, not from its clients"
for id in 1 2 3; do eventually 20 "node $id is ready" ready "$id"; done
find_leader 1 2 3 || fail "nobody knows a leader: $(cat "$answer")"
others_of "$leader"
eventually 20 "a write before the cut" set_key "$leader" cut before
started=$(docker inspect -f '{{.State.StartedAt}}' "quorate-node$leader")
docker network disconnect "${COMPOSE_PROJECT_NAME}_peers" "quorate-node$leader"
short=(-H 'X-Quorate-Timeout-Ms: 500')
expect 503 '' "${short[@]}" "http://localhost:808$leader/api/get?key=cut"
eventually 20 "a write through node $one beside the cut" set_key "$one" cut after
eventually 20 "a read through node $two" reads "$two" cut after
for _ in 1 2 3 4 5; do
    expect 503 '' "${short[@]}" "http://localhost:808$leader/api/get?key=cut"
    expect 503 '' "${short[@]}" -X POST "http://localhost:808$leader/api/set" \
        -H 'Content-Type: application/json' -d '{"key":"cut-off","value":"lost"}'
done
expect 503 '"health":"false"' "http://localhost:808$leader/health"
expect 200 '' "http://localhost:808$leader/livez"
docker network connect --alias "node$leader.peer" "${COMPOSE_PROJECT_NAME}_peers" "quorate-node$leader"
eventually 20 "node $leader is back by itself and reads what it missed" reads "$leader" cut after
[ "$(docker inspect -f '{{.State.StartedAt}}' "quorate-node$leader")" = "$started" ] || fail "it was restarted"

echo "PASSED: docker/test.sh"
