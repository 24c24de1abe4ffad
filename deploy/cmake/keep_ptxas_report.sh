#!/bin/sh
# Runs nvcc (the command in the arguments) and keeps what its assembler reports of each kernel, registers, shared memory,
# spills, beside the object file, as <object>.ptxas. student/bench/kernel_report.py reads these files.
object='' previous=''
for argument; do
  [ "$previous" != -o ] || object=$argument
  previous=$argument
done
exec 3>&1
messages=$("$@" 2>&1 >&3)
status=$?
report='^ptxas info|^ *[0-9]+ bytes stack frame'
if [ -n "$object" ] && [ $status -eq 0 ]; then
  printf '%s\n' "$messages" | grep -E "$report" >"$object.ptxas"
  messages=$(printf '%s\n' "$messages" | grep -vE "$report")
fi
[ -z "$messages" ] || printf '%s\n' "$messages" >&2
exit $status
