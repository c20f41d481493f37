"""Find and measure particles, on reconstructions or straight from sparse scans; the whole chain and its command."""
