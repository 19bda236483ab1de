"""Defaults that several parts share. Nothing is imported here."""

SPANS_KEY = "padellm"

# The checkpoint that comes with the package: English names.
BUNDLED_MODEL = "padellm_en_small"

# Lowest probability of a drafted token: fewer than 3.3 passes a text on each of the paper's test
# sets, at most 1.6 times the distinct tokens.
DRAFT_THRESHOLD = 0.07

# What text tags count in a mention's probability: more than what is written, as counts err more.
TAG_SHARE = 0.65

# Tokens run at once, padding included: what was fastest on a CPU.
BATCH_TOKENS = 1024
