"""Trees → mentions: decoding a text's labels and mentions at once."""
