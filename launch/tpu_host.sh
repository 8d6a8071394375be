#!/usr/bin/env bash
# One host of a TPU pod. tpu_pod.sh copies this script to every host with the project, and calls it there:
#
#   tpu_host.sh install       makes .venv with all that is needed to train on a TPU
#   tpu_host.sh start ARG…    starts `tpu_host.sh run ARG…` in the background, unless it runs already
#   tpu_host.sh run ARG…      runs tal_jax.main with these arguments until it is finished, again whenever it was lost
#   tpu_host.sh status        prints running; how the program ended, 0 finished, 1 a sentence in run.log says what to correct,
#                             143 stopped; lost, if the host went down while it ran; or none, if it never ran
#   tpu_host.sh logs          follows run.log
#   tpu_host.sh stop          lets the program save and end
set -uo pipefail
cd "$(dirname "$0")/.." || exit

MOST_FAILURES=10 # in a row
LONG_TRY_SEC=600 # a try that went well for so long: failures are counted afresh

is_running() { # after a reboot the number in run.pid may be that of another program
  [[ -e run.pid ]] && grep -qs tpu_host.sh "/proc/$(< run.pid)/cmdline"
}

install() { # a new host is busy with updates of its own, so apt-get waits for them
  if ! command -v python3.11 > /dev/null; then
    sudo apt-get --option=DPkg::Lock::Timeout=300 install --yes python3.11-venv || return
  fi
  python3.11 -m venv .venv &&
    .venv/bin/python -m pip install --quiet --requirement=requirements.txt --constraint=constraints.txt 'jax[tpu]'
}

start() {
  if is_running; then
    echo "The program runs already."
  else
    nohup setsid launch/tpu_host.sh run "$@" >> run.log 2>&1 < /dev/null &
    echo $! > run.pid
  fi
}

run() { # a peer that was lost ends the program on all hosts, and here each starts it again at about the same time
  local failures=0 stopped=0 pause begin code
  echo lost > run.code
  trap stopped=1 TERM # stop signals the whole process group; this script stays to write down how the program ended
  while true; do
    begin=$SECONDS # after a loss some hosts are here sooner than others, and wait for them
    launch/stoppable.sh .venv/bin/python -m tal_jax.main --join_timeout_sec=300 "$@"
    code=$?
    case $code in 0 | 1 | 143) break ;; esac
    ((SECONDS - begin > LONG_TRY_SEC)) && failures=0
    ((failures += 1))
    ((failures > MOST_FAILURES)) && break
    pause=$((2 ** (failures - 1)))
    ((pause > 60)) && pause=60
    echo "The program ended with $code; it is started again in $pause s (failure $failures of at most $MOST_FAILURES)."
    sleep "$pause"
    ((stopped)) && code=143 && break
  done
  echo "$code" > run.code
}

status() {
  if is_running; then
    echo running
  else
    cat run.code 2> /dev/null || echo none
  fi
}

logs() { # a progress bar as lines; each line with the host it comes from
  tail --lines=50 --follow=name --retry run.log | stdbuf --output=L tr '\r' '\n' | sed --unbuffered "s/^/$(hostname): /"
}

stop() {
  if is_running; then
    kill -TERM -- "-$(< run.pid)"
  else
    echo "The program does not run."
  fi
}

case ${1-} in
  install | start | run | status | logs | stop) "$@" ;;
  *) sed -n '2,11s/^# \{0,1\}//p' launch/tpu_host.sh; exit 1 ;;
esac
