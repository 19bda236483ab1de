"""The paper's baselines: all mentions of a text in one sequence."""
