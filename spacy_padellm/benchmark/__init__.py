"""The benchmark, which measures decoders side by side: corpora, measurements and report."""
