"""Inner loops compiled by numba. Import them inside the function that calls them: numba takes a while to load."""
