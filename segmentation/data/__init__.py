"""The packaged demonstration frame and the script that draws it."""
