"""The report of ``tvt report``: one HTML file that explains itself and asks nothing of any network."""
