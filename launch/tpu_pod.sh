#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU pod. Runs on a machine with gcloud, in a clone of the project.
set -euo pipefail
cd "$(dirname "$0")/.."

USAGE='Usage: launch/tpu_pod.sh COMMAND --name=NAME --zone=ZONE [OPTION…] [-- ARGUMENT of tal_jax.main…]

Commands
  train    all there is to do: creates the pod, copies, runs, and does so again after each preemption, until the training is
           finished. Ctrl-C ends the watching, not the training; the same command goes on watching
  create   creates the pod
  copy     copies the project to all hosts and installs it
  run      starts the program on all hosts, where it stays when the connection ends
  logs     follows what the program prints on all hosts
  stop     lets the program save and end on all hosts (first end train, which would start it again)
  delete   deletes the pod and all that is on it

Options
  --name=NAME --zone=ZONE    which pod
  --project=PROJECT          if it is not that of your gcloud configuration
  --type=v4-16               accelerator type, for create and train
  --version=VERSION          runtime version, for create and train
  --spot                     creates a pod that is cheaper and may be preempted
  --setup=COMMAND            for copy and train: runs on each host first, to mount the shared folder of --workdir and data
  --poll_sec=30              how often train looks at the pod
  --dry_run                  prints each command and runs none'

HOST=tal_jax/launch/tpu_host.sh # what is done on each host; it comes with the project

fail() {
  echo "Error: $*" >&2
  exit 1
}

say() {
  echo "[tpu_pod] $*" >&2
}

call() { # prints a command and, without --dry_run, runs it
  printf '+%s\n' "$(printf ' %q' "$@")" >&2
  [[ -n $dry_run ]] || "$@"
}

tpu_vm() { # VERB ARGUMENT…
  call gcloud compute tpus tpu-vm "$@" "--zone=$zone" ${project:+"--project=$project"}
}

on_all_hosts() { # COMMAND
  tpu_vm ssh "$name" --worker=all "--command=$1"
}

create() {
  [[ -n $type && -n $version ]] || fail "say which pod to create: --type=v4-16 --version=RUNTIME."
  tpu_vm create "$name" "--accelerator-type=$type" "--version=$version" ${spot:+--spot}
}

copy() { # the files that git tracks, as they are now; no runs, no data, no environment
  local folder copied=0
  git ls-files > /dev/null 2>&1 || fail "copy takes the files that git tracks, and $PWD is not a clone of the project."
  folder=$(mktemp -d)
  git ls-files -z > "$folder/files"
  { [[ -z $setup ]] || on_all_hosts "$setup"; } &&
    call tar -czf "$folder/tal_jax.tar.gz" --null -T "$folder/files" &&
    tpu_vm scp "$folder/tal_jax.tar.gz" "$name:" --worker=all &&
    on_all_hosts "mkdir -p tal_jax && tar -xzf tal_jax.tar.gz -C tal_jax && $HOST install" &&
    copied=1
  rm -rf "$folder"
  ((copied))
}

run() { # quoted once more, for the shell of the hosts
  ((${#arguments[@]})) || fail "say what to run: -- --config=configs/thumos.py --workdir=/mnt/shared/run."
  on_all_hosts "$HOST start$(printf ' %q' "${arguments[@]}")"
}

state() { # READY, PREEMPTED, …; ABSENT if there is no such pod
  tpu_vm describe "$name" '--format=value(state)' 2> /dev/null || echo ABSENT
}

statuses() { # of all hosts, on one line with spaces around each; empty if a host does not answer
  local found
  found=$(on_all_hosts "[ ! -e $HOST ] && echo none || $HOST status" 2> /dev/null) || return 0
  found=$(grep -xE 'none|running|lost|[0-9]+' <<< "$found") || return 0
  echo " ${found//[[:space:]]/ } "
}

train() {
  if [[ -n $dry_run ]]; then
    create; copy; run
    say "Then, every $poll_sec s, the state of the pod and of its hosts; after a preemption delete, and all of the above again:"
    tpu_vm describe "$name" '--format=value(state)'
    on_all_hosts "$HOST status"
    tpu_vm delete "$name" --quiet
    return
  fi
  while true; do
    case $(state) in
      READY) watch_hosts ;;
      ABSENT) create || say "The pod could not be created, see above; trying again in $poll_sec s." ;;
      PREEMPTED | TERMINATED)
        say "The pod was preempted; a new one takes over from the last checkpoint."
        tpu_vm delete "$name" --quiet || say "It could not be deleted, see above; trying again in $poll_sec s."
        ;;
    esac
    sleep "$poll_sec"
  done
}

watch_hosts() { # looks once at the hosts of a pod that is ready; ends the script if there is no more to do
  local found code
  found=$(statuses)
  # How a program ended that an earlier train started says nothing about this training, so the first look is different:
  if [[ -n $first_look && $found == *" running "* ]]; then
    [[ ${found// running/} == " " || $found == *" none "* || $found == *" lost "* ]] || return 0 # some hosts are about to end
    first_look=''
  elif [[ -n $first_look && -n $found ]]; then
    first_look='' found=" none "
  fi
  case $found in
    "") ;; # a host that does not answer may be about to be preempted
    *" none "* | *" lost "*) # a host that went down has lost what --setup mounted, too
      { copy && run; } || [[ $(state) != READY ]] || fail "the project could not be copied or started, see above."
      ;;
    *" 1 "*)
      on_all_hosts "$HOST stop" || true # the others
      fail "a process ended with a sentence that says what to correct; launch/tpu_pod.sh logs shows it."
      ;;
    *" running "*) ;;
    *" 143 "*)
      say "The program was stopped before its end; it goes on from where it saved."
      run || true
      ;;
    *)
      for code in $found; do
        ((code == 0)) || fail "the program failed again and again, the last time with $code; launch/tpu_pod.sh logs shows why."
      done
      say "The training is finished. The pod is still there and costs: launch/tpu_pod.sh delete --name=$name --zone=$zone"
      exit 0
      ;;
  esac
}

name='' zone='' project='' type='' version='' spot='' setup='' poll_sec=30 dry_run='' first_look=yes arguments=()
command=${1-}
case $command in
  create | copy | run | logs | stop | delete | train) shift ;;
  help | --help | -h | '') echo "$USAGE"; exit 0 ;;
  *) fail "'$command' is not a command; launch/tpu_pod.sh help lists them." ;;
esac
while (($#)); do
  case $1 in
    --name=* | --zone=* | --project=* | --type=* | --version=* | --setup=* | --poll_sec=*)
      option=${1%%=*}
      printf -v "${option#--}" '%s' "${1#*=}"
      ;;
    --spot) spot=yes ;;
    --dry_run) dry_run=yes ;;
    --) shift; arguments=("$@"); break ;;
    *) fail "$1 is not an option; options are written --name=VALUE, and arguments of tal_jax.main come after a --." ;;
  esac
  shift
done
[[ -n $name ]] || fail "say which pod: --name=NAME."
[[ -n $zone ]] || fail "say in which zone: --zone=ZONE."
[[ $poll_sec =~ ^[0-9]*\.?[0-9]+$ ]] || fail "--poll_sec is '$poll_sec'; it must be a number of seconds."
[[ -n $dry_run ]] || command -v gcloud > /dev/null ||
  fail "gcloud is not installed; see https://cloud.google.com/sdk/docs/install, or add --dry_run."

case $command in
  create | copy | run) "$command" ;;
  train)
    ((${#arguments[@]})) || fail "say what to train: -- --config=configs/thumos.py --workdir=/mnt/shared/run."
    [[ -n $type && -n $version ]] || fail "say which pod to create: --type=v4-16 --version=RUNTIME."
    train
    ;;
  logs) on_all_hosts "$HOST logs" ;;
  stop) on_all_hosts "$HOST stop" ;;
  delete) tpu_vm delete "$name" --quiet ;;
esac
