"""The language model: prompts, Gemini, its budget, and the cassette that replays its answers without a network."""
