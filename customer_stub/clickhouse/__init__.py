"""The customer's ClickHouse: chdb behind ClickHouse's HTTP protocol, as a process of its own."""
