"""The prompts, a file a version; a file that was used is never changed, a better one gets the next number."""
