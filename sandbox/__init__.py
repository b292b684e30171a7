"""A local Twilio, the people it calls, and a local Realtime model; see README.md."""
