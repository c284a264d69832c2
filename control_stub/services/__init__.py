"""The public API: flyteidl2's services, as far as a client of this product needs them."""
