"""How dates are written, everywhere alike: the day before the month's name, and the zone."""
