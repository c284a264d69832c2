"""The customer's object store, as the agent uses it: signing for viewers, reading and writing."""
