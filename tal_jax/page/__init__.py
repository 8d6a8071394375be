"""The page of a run: one HTML file with its scores, its errors and every recording, to correct too."""
