"""Networks that find particles."""
