"""The control plane stand-in: public API, issuer, metadata store, client of the relay."""
