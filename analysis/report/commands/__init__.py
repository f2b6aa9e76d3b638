"""The documents of single commands, a module each: what it found, figures and tables."""
