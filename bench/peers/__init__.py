"""Bridges of others' making, or in others' manner, to measure ours against."""
