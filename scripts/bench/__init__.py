"""CPU time per request of servers side by side (`make bench`), and instructions per request of ours (`make bench-check`).

`__main__` runs turns and writes the report; `check` counts instructions. docs/performance.md says how to read either.
"""
