"""Lists of runs: what is to be run, run and resumed in child processes, and told in tables and figures."""
