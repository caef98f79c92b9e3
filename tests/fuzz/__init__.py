"""Fuzzing of the decoder: `make fuzz` looks for files, every `make test` replays what it found."""
