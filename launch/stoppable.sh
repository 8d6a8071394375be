#!/usr/bin/env bash
# stoppable.sh COMMAND [ARGUMENT…]: runs the command and exits as it does, but with 143 if SIGTERM stopped it.
#
# tal_jax.main saves at SIGTERM and exits with 0. A cluster would take that 0 for the end of the training and not start it
# again on other machines. So the launchers run the program through this script: 0 means finished, 143 means go on later.
# With MEND_CODE=CODE that takes the place of 1, of which tal_jax.main has said in a sentence what to correct.
set -uo pipefail

if (($# == 0)); then
  echo "Error: say which command to run: stoppable.sh COMMAND [ARGUMENT…]." >&2
  exit 1
fi

stopped=0 interrupted=1 child=
trap 'stopped=1 interrupted=1; [[ -z $child ]] || kill -TERM "$child"' TERM

"$@" &
child=$!
((stopped)) && kill -TERM "$child" # it came before $child was known

while ((interrupted)); do # a signal interrupts `wait`, and the program needs time to save
  interrupted=0
  wait "$child"
  code=$?
done

((stopped && code == 0)) && exit 143
((code == 1)) && exit "${MEND_CODE:-1}"
exit "$code"
