"""Running token trees through a causal language model: three ways, one interface."""
