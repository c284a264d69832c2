"""The node's log collector: follows CRI log files and feeds the customer's log aggregator."""
