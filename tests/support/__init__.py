"""What tests share: worlds, servers, streams and references."""
