"""The tests: each folder is a category, `servers` and `worlds` are what they run against."""
