"""The exchanges that the feed can follow, one module each; `protocol` says what joins them."""
