"""The figures of a sweep, a module each; `figures` is the list that a report takes."""
