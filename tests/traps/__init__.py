"""The traps of capturing writes and of moving values, one named test each."""
