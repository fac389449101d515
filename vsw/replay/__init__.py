"""The offline jobs: captures through a switch."""
