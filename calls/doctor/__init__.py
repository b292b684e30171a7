"""`manage.py doctor`: asks everything that a call depends on whether it works, changing nothing."""
