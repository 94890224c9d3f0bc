# Processes that outlive the command that started them, each known by $directory/NAME.pid; output in NAME.log.
# shellcheck shell=bash

declare -A programs=([redis]=redis-server [nats]=nats-server [postgres]=postgres
  [api-0]=birbnest-api [api-1]=birbnest-api [worker-0]=birbnest-worker)

declare -A starters

# run NAME COMMAND...: calls the command, which calls `start`, unless the process runs already.
run() {
  starters[$1]=${*:2}
  if current "$1"; then return; fi
  stop "$1" # a program that was built anew meanwhile
  say "starting $1"
  "${@:2}"
}

start() { # NAME COMMAND...
  setsid nohup "${@:2}" >>"$directory/$1.log" 2>&1 </dev/null 9>&- &
  echo $! >"$directory/$1.pid"
}

# A process that nobody awaited stays as a zombie, which `kill -0` finds.
living() { grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; } # ID

# A process id comes back some day as another program's.
alive() { # NAME
  local id
  id=$(cat "$directory/$1.pid" 2>/dev/null) && living "$id" && [ "$(cat "/proc/$id/comm")" = "${programs[$1]}" ]
}

# Alive, and still the program that lies on the disk.
current() { # NAME
  alive "$1" && case $(readlink "/proc/$(cat "$directory/$1.pid")/exe") in *' (deleted)') false ;; esac
}

# SIGINT ends PostgreSQL's sessions, SIGTERM would wait for them.
stop() { # NAME
  if alive "$1"; then
    local id signal=TERM
    id=$(cat "$directory/$1.pid")
    if [ "$1" = postgres ]; then signal=INT; fi
    kill -s CONT "$id"
    kill -s "$signal" "$id"
    until_true 30 gone "$1" || kill -s KILL "$id"
  fi
  rm -f "$directory/$1.pid"
}

gone() { ! alive "$1"; } # NAME

# until_running NAME COMMAND...: polls until the command succeeds. A process that was just being killed when it was
# looked at is started once more; one that ends a second time has a reason of its own.
until_running() {
  local deadline=$((SECONDS + 60)) chances=1
  until "${@:2}" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)) || { ! started "$1" && ((chances-- == 0)); }; then
      tail -n 20 "$directory/$1.log" >&2
      fail "$1 does not answer; all it said is in $directory/$1.log"
    fi
    # shellcheck disable=SC2086 # a command and its words
    if ! started "$1"; then run "$1" ${starters[$1]}; fi
    sleep 0.1
  done
}

# On its way to be the program, a process is first setsid, then perhaps setpriv and a shell.
started() { living "$(cat "$directory/$1.pid")"; } # NAME
