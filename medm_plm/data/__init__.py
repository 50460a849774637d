"""Records of patients: sources, cohort, splits, task examples, checks against leakage."""
