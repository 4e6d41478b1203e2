#!/usr/bin/env bash
# Turns the two trained checkpoints into what the binary carries: imports each in nf4 and puts it in models/.
#
#   shard/bundled/train/pack.sh CHAT_DIR ALIBI_DIR
#
# Afterwards: go test ./shard/bundled, and commit models/ (once: the history keeps every version).
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,6s/^# \?//p' "$0"; exit 2; }
bundled=$(cd "$(dirname "$0")/.." && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
export BAICHUAN_HOME=$temp/home CGO_ENABLED=0

# Built before anything is replaced: the program must compile with what models/ holds now.
(cd "$bundled" && go build -o "$temp/baichuan-node" ../../cmd/baichuan-node)

pack() { # NAME CHECKPOINT
	ln -s "$(realpath "$2")" "$temp/$1" # local.json notes the source: a name, not a path of this machine
	(cd "$temp" && ./baichuan-node import "$1" --name "$1" --weights nf4)
	rm -rf "${bundled:?}/models/$1"
	cp -R "$temp/home/models/$1" "$bundled/models/$1"
}
pack baichuan2-mini-chat "$1"
pack baichuan2-mini-alibi "$2"
