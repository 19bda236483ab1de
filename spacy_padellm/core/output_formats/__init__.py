"""How all mentions of a text are written in one sequence: the paper's autoregressive baselines."""
